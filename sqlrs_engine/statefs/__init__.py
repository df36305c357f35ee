"""State directories: where they are, how they are cloned, published and deleted.

``StateFs`` is the face of the package. It works on *containers* (``layout``) by way of a
``Backend``, chosen by ``probe.choose_backend`` for what the filesystem can do.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from sqlrs_engine.errors import Conflict
from sqlrs_engine.host.disk_space import space_on, sync
from sqlrs_engine.retry_queue import RetryQueue

from .backend import Backend, Owner
from .containers import MODE, check_tablespaces, is_whole, seal
from .layout import Layout, data_dir
from .quarantine import Quarantine
from .removal import Trash, remove
from .swap import exchange
from .tree import opened, usage

__all__ = ["Backend", "StateFs", "data_dir"]

_IDLE_SECONDS = 10.0

_log = logging.getLogger(__name__)


class StateFs:
    """The containers of one store. Safe to use from any thread.

    ``owner`` is the user and group id that servers run as when the engine is root: the
    data directories are theirs, the containers the engine's.

    A full disk is a StorageFull everywhere; other failures of the filesystem are OSErrors.
    """

    def __init__(
        self, root: Path, backend: Backend, *, owner: Owner | None, chores: RetryQueue | None = None
    ) -> None:
        """Raise StoreDamaged when something else is in the place of the directories."""
        self.root = root
        self.backend = backend
        self._owner = owner
        self._layout = Layout(root)
        self._layout.check()
        self._trash = Trash(self._layout, chores or RetryQueue())
        self._aside = Quarantine(self._layout)

    def base_dir(self, image_id: str) -> Path:
        """Return where the container of an image's empty cluster is."""
        return self._layout.base_dir(image_id)

    def state_dir(self, image_id: str, state_id: str) -> Path:
        """Return where a state's container is."""
        return self._layout.state_dir(image_id, state_id)

    def instance_dir(self, instance_id: str) -> Path:
        """Return where an instance's container is."""
        return self._layout.instance_dir(instance_id)

    def state_dirs(self) -> Iterator[Path]:
        """Yield the containers of all states; their names are the states' ids."""
        return self._layout.state_dirs()

    def instance_dirs(self) -> Iterator[Path]:
        """Yield what lies where the instances' containers are and has the name of one."""
        return self._layout.instance_dirs()

    def set_aside(self, container: Path) -> Path:
        """Move a container out of use without deleting it; return where it is now."""
        with space_on(self.root):
            return self._aside.put(container)

    def take_back(self, container: Path) -> bool:
        """Move a container that was set aside back to this, its own path; say whether it was."""
        with space_on(self.root):
            return self._aside.take_back(container)

    def set_aside_dirs(self) -> Iterator[Path]:
        """Yield the former paths of the containers that were set aside."""
        return self._aside.containers()

    def new_workspace(self) -> Path:
        """Make a container without a data directory, which the next start sweeps away."""
        with space_on(self.root):
            workspace = self._fresh_workspace()
            try:
                self.backend.create(workspace)
            except BaseException:
                self._drop(workspace)
                raise
        return workspace

    def clone_to_workspace(self, source: Path) -> Path:
        """Make a writable copy in a container that the next start sweeps away.

        Raises InvalidArgument when the cluster has a tablespace outside.
        """
        with space_on(self.root):
            with opened(source) as container:
                check_tablespaces(container)
            workspace = self._fresh_workspace()
            try:
                with self._trash.waiting():
                    self.backend.clone(source, workspace, self._owner)
            except BaseException:
                self._drop(workspace)
                raise
        return workspace

    def clone(self, source: Path, target: Path) -> None:
        """Make a writable copy; ``target`` appears complete or not at all.

        Raises InvalidArgument when the cluster has a tablespace outside, Conflict when
        the target is there already.
        """
        workspace = self.clone_to_workspace(source)
        if not self._move(workspace, target):
            raise Conflict("there is a container already", str(target))

    def publish(self, workspace: Path, target: Path) -> bool:
        """Make a workspace a state, immutable from then on.

        When there is a state already the workspace is discarded and False returned.
        Raises InvalidArgument when the cluster has a tablespace outside.
        """
        with opened(workspace) as container:
            check_tablespaces(container)
            if not self._move(workspace, target):
                return False
            # Only now: what is read-only cannot be moved. It is complete all the same.
            try:
                with space_on(self.root):
                    seal(container)
            except BaseException:
                self.discard(target)
                raise
        return True

    def swap(self, container: Path, workspace: Path) -> None:
        """Put a workspace in a container's place, and the container in its.

        In one step, so that a crash leaves one or the other.
        """
        with space_on(self.root):
            exchange(container, workspace)

    def discard(self, path: Path) -> None:
        """Remove a container: out of sight at once, deleted in the background.

        Nothing happens when it is gone. Raises Conflict when it is not a container of this
        store, or when something is mounted on it or in it.
        """
        with space_on(self.root):
            self._trash.discard(path)

    def is_whole(self, container: Path) -> bool:
        """Return whether a container, reached without a link, has what every cluster has."""
        return is_whole(container)

    def usage(self, path: Path) -> int:
        """Return the apparent size of a container in bytes."""
        with opened(path) as container:
            return usage(container)

    def sync(self) -> None:
        """Wait until all that was written to the store has reached the disk."""
        with opened(self.root.resolve()) as root, space_on(self.root):
            sync(root)

    def leftovers(self) -> list[Path]:
        """Return the workspaces of earlier runs, in which servers may still be running."""
        return list(self._layout.of_earlier_runs(self._layout.work))

    def sweep(self) -> None:
        """Delete in the background what earlier runs left unfinished or half deleted.

        To be called when nothing runs in the ``leftovers`` any more.
        """
        self._trash.sweep()

    def wait_idle(self, seconds: float = _IDLE_SECONDS) -> bool:
        """Wait until all that was discarded is deleted; False when some is left after that time."""
        return self._trash.wait_idle(seconds)

    def await_space(self, seconds: float = _IDLE_SECONDS) -> bool:
        """Wait until the disk has back what was discarded; False when not after that time."""
        deleted = self._trash.wait_idle(seconds)
        self.backend.settle(self.root)
        return deleted

    def _fresh_workspace(self) -> Path:
        self._layout.work.mkdir(MODE, exist_ok=True)
        return self._layout.fresh(self._layout.work)

    def _move(self, workspace: Path, target: Path) -> bool:
        """Put a workspace in its place; where there is something already, discard it."""
        with space_on(self.root):
            try:
                target.parent.mkdir(MODE, parents=True, exist_ok=True)
                workspace.rename(target)
            except OSError:
                self._drop(workspace)
                if os.path.lexists(target):
                    return False
                raise
        return True

    def _drop(self, workspace: Path) -> None:
        """Delete what came to nothing, at once: its space may be what is missing."""
        try:
            remove(workspace)
        except FileNotFoundError:
            return
        except OSError:
            _log.exception("cannot delete %s, the next start will", workspace)
