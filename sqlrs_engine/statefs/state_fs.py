"""The state filesystem, on the directories of a store.

It works on *containers* (``layout``) by way of a ``Backend``, which ``probe.choose_backend``
chooses by what the filesystem supports.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from sqlrs_engine.errors import Conflict, EngineError
from sqlrs_engine.host.disk_space import space_on, sync
from sqlrs_engine.retry_queue import RetryQueue

from .backend import Backend, Owner
from .containers import MODE, check_tablespaces, is_whole, seal
from .exchange import exchange
from .layout import Layout
from .quarantine import Quarantine
from .removal import Trash, remove
from .tree import opened, usage

_IDLE_SECONDS = 10.0
_BASE_SECONDS = 7 * 24 * 3600.0

_log = logging.getLogger(__name__)


class StateFs:
    """The containers of one store; safe to use from any thread. See ``StateFiles``."""

    def __init__(
        self,
        root: Path,
        backend: Backend,
        *,
        owner: Owner | None,
        retries: RetryQueue | None = None,
    ) -> None:
        """Raise StoreDamaged when something other than a directory is in the place of one.

        ``owner`` is the user and group id that servers run as when the engine is root: they
        own the data directories, the engine owns the containers.
        """
        self.root = root
        self.backend = backend
        self._owner = owner
        self._layout = Layout(root)
        self._layout.check()
        self._trash = Trash(self._layout, retries or RetryQueue())
        self._quarantine = Quarantine(self._layout)

    def base_dir(self, image_id: str, base_id: str) -> Path:
        """See ``StateFiles.base_dir``."""
        return self._layout.base_dir(image_id, base_id)

    def note_use(self, base: Path) -> None:
        """See ``StateFiles.note_use``."""
        try:
            os.utime(base)
        except OSError as error:
            # At worst it is made again later.
            _log.debug("cannot note the use of %s: %s", base, error)

    def state_dir(self, image_id: str, state_id: str) -> Path:
        """See ``StateFiles.state_dir``."""
        return self._layout.state_dir(image_id, state_id)

    def instance_dir(self, instance_id: str) -> Path:
        """See ``StateFiles.instance_dir``."""
        return self._layout.instance_dir(instance_id)

    def state_dirs(self) -> Iterator[Path]:
        """See ``StateFiles.state_dirs``."""
        return self._layout.state_dirs()

    def instance_dirs(self) -> Iterator[Path]:
        """See ``StateFiles.instance_dirs``."""
        return self._layout.instance_dirs()

    def set_aside(self, container: Path) -> Path:
        """See ``StateFiles.set_aside``."""
        with space_on(self.root):
            return self._quarantine.put(container)

    def take_back(self, container: Path) -> bool:
        """See ``StateFiles.take_back``."""
        with space_on(self.root):
            return self._quarantine.take_back(container)

    def set_aside_dirs(self) -> Iterator[Path]:
        """See ``StateFiles.set_aside_dirs``."""
        return self._quarantine.containers()

    def new_workspace(self) -> Path:
        """See ``StateFiles.new_workspace``."""
        with space_on(self.root):
            workspace = self._fresh_workspace()
            try:
                self.backend.create(workspace)
            except BaseException:
                self._drop(workspace)
                raise
        return workspace

    def clone_to_workspace(self, source: Path) -> Path:
        """See ``StateFiles.clone_to_workspace``."""
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
        """See ``StateFiles.clone``."""
        workspace = self.clone_to_workspace(source)
        if not self._move(workspace, target):
            raise Conflict("the container exists already", str(target))

    def publish(self, workspace: Path, target: Path) -> bool:
        """See ``StateFiles.publish``."""
        with opened(workspace) as container:
            check_tablespaces(container)
            if not self._move(workspace, target):
                return False
            # Last, because a read-only directory cannot be moved. It is complete already.
            try:
                with space_on(self.root):
                    seal(container)
            except BaseException:
                self.discard(target)
                raise
        return True

    def exchange(self, container: Path, workspace: Path) -> None:
        """See ``StateFiles.exchange``."""
        with space_on(self.root):
            exchange(container, workspace)

    def discard(self, path: Path) -> None:
        """See ``StateFiles.discard``."""
        with space_on(self.root):
            self._trash.discard(path)

    def is_whole(self, container: Path) -> bool:
        """See ``StateFiles.is_whole``."""
        return is_whole(container)

    def usage(self, path: Path) -> int:
        """See ``StateFiles.usage``."""
        with opened(path) as container:
            return usage(container)

    def sync(self) -> None:
        """See ``StateFiles.sync``."""
        with opened(self.root.resolve()) as root, space_on(self.root):
            sync(root)

    def leftovers(self) -> list[Path]:
        """Return the workspaces of earlier runs, in which servers may still run."""
        return list(self._layout.of_earlier_runs(self._layout.work))

    def sweep(self) -> None:
        """Delete in the background what earlier runs left unfinished, half deleted or useless.

        End the servers in the ``leftovers`` first. Every configuration of roles and locale leaves
        an empty cluster, so those that were not used for long go as well.
        """
        self._trash.sweep()
        old = time.time() - _BASE_SECONDS
        self._discard_each(self._layout.former_base_dirs(), lambda base: True)
        self._discard_each(self._layout.base_dirs(), lambda base: base.lstat().st_mtime < old)

    def wait_idle(self, seconds: float = _IDLE_SECONDS) -> bool:
        """See ``StateFiles.wait_idle``."""
        return self._trash.wait_idle(seconds)

    def await_space(self, seconds: float = _IDLE_SECONDS) -> bool:
        """See ``StateFiles.await_space``."""
        deleted = self._trash.wait_idle(seconds)
        self.backend.settle(self.root)
        return deleted

    def _discard_each(self, containers: Iterable[Path], useless: Callable[[Path], bool]) -> None:
        """Discard the useless ones of these containers; log what fails."""
        for container in containers:
            try:
                if useless(container):
                    self.discard(container)
            except (EngineError, OSError):
                _log.exception("cannot delete %s", container)

    def _fresh_workspace(self) -> Path:
        self._layout.work.mkdir(MODE, exist_ok=True)
        return self._layout.fresh(self._layout.work)

    def _move(self, workspace: Path, target: Path) -> bool:
        """Move a workspace to its place; delete it and return False when the place is taken."""
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
        """Delete a useless workspace at once: its space may be needed."""
        try:
            remove(workspace)
        except FileNotFoundError:
            return
        except OSError:
            _log.exception("cannot delete %s: the next start of the engine will", workspace)
