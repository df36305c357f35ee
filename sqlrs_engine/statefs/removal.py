"""Deletes containers: moves them to the trash at once, deletes them in the background.

Only containers are deleted: directories below the root, reached without symbolic links, with the
engine's marker, and with no filesystem mounted on or in them. The marker is deleted last, so that
an interrupted deletion can be resumed.
"""

import contextlib
import errno
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from sqlrs_engine.errors import Conflict
from sqlrs_engine.host.disk_space import is_full
from sqlrs_engine.retry_queue import RetryQueue

from . import btrfs, tree
from .containers import MODE, is_marked, unseal
from .layout import MARKER, Layout

_NOT_OURS = (errno.ENOTEMPTY, errno.ENOTDIR, errno.ELOOP)
_LONGEST_PAUSE_SECONDS = 0.5

_log = logging.getLogger(__name__)


def remove(container: Path, pause: Callable[[], object] = lambda: None) -> None:
    """Delete a container, or what an interrupted deletion left of one.

    ``pause`` is called before each directory: it may wait for more urgent work. Raises OSError
    when the container cannot be deleted, or has no marker and is not empty.
    """
    with tree.opened(container.parent) as parent:
        with tree.opened(container.name, within=parent) as directory:
            marked = is_marked(directory)
        if marked:
            remove_directory(parent, container.name, pause)
        else:
            os.rmdir(container.name, dir_fd=parent)


def remove_directory(parent: int, name: str, pause: Callable[[], object] = lambda: None) -> None:
    """Delete a directory or subvolume with its contents, a marker last."""
    with tree.opened(name, within=parent) as directory:
        if btrfs.is_subvolume(directory) and btrfs.destroy(parent, name):
            return
        tree.empty(directory, last=MARKER, pause=pause)
    os.rmdir(name, dir_fd=parent)


class Trash:
    """The containers that are being deleted, by a thread that runs while there are any.

    Clients wait for clones and rarely for deletions, so deletions pause during clones.
    """

    def __init__(self, layout: Layout, retries: RetryQueue) -> None:
        """``retries`` deletes later what cannot be deleted now."""
        self._layout = layout
        self._retries = retries
        self._queue: deque[Path] = deque()
        self._state = threading.Condition()
        self._working = False
        self._urgent = 0
        self._awaited = 0
        self._enqueued = 0
        self._deleted = 0

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Pause deletions during the block, each for half a second at most."""
        with self._state:
            self._urgent += 1
        try:
            yield
        finally:
            with self._state:
                self._urgent -= 1
                self._state.notify_all()

    def discard(self, container: Path) -> None:
        """Move a container to the trash and delete it in the background; do nothing if it is gone.

        Raises Conflict when it is not a container of this store.
        """
        self._check_place(container)
        if not os.path.lexists(container):
            return
        self._check(container)
        doomed = self._layout.fresh(self._layout.trash)
        try:
            self._layout.trash.mkdir(MODE, exist_ok=True)
            with tree.opened(container) as directory:
                unseal(directory)  # what is read-only cannot be moved
            container.rename(doomed)
        except FileNotFoundError:
            return  # another thread was faster
        except OSError as error:
            if not is_full(error):
                raise
            remove(container)  # not even room for a name: delete it now
            return
        self._enqueue(doomed)

    def sweep(self) -> None:
        """Delete in the background what earlier runs left unfinished or half deleted."""
        for area in (self._layout.work, self._layout.trash):
            for path in self._layout.of_earlier_runs(area):
                self._enqueue(path)

    def wait_idle(self, seconds: float) -> bool:
        """Wait until everything in the trash now is deleted; return False on timeout.

        Deletions do not pause during this time. It does not wait for containers added later.
        """
        with self._state:
            last = self._enqueued
            self._awaited += 1
            self._state.notify_all()
            try:
                return self._state.wait_for(lambda: self._deleted >= last, seconds)
            finally:
                self._awaited -= 1

    def _check_place(self, container: Path) -> None:
        root = self._layout.root.resolve()
        if container.name == ".." or root not in _real(container).parents:
            raise _refusal("it is outside the state store", container)

    def _check(self, container: Path) -> None:
        """Raise Conflict unless this is a container without mounted filesystems."""
        if tree.mounts_in(_real(container)):
            raise _refusal("a filesystem is mounted there", container)
        try:
            with tree.opened(container) as directory:
                marked = is_marked(directory)
        except FileNotFoundError:
            return  # it is gone by now
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            raise _refusal("it is not a directory", container) from error
        if not marked:
            raise _refusal("it does not have the engine's marker", container)

    def _enqueue(self, doomed: Path) -> None:
        with self._state:
            self._queue.append(doomed)
            self._enqueued += 1
            if self._working:
                return
            self._working = True
        # A daemon thread: the next start sweeps away what is left when the engine ends.
        threading.Thread(target=self._work, name="trash", daemon=True).start()

    def _work(self) -> None:
        while (doomed := self._next()) is not None:
            try:
                remove(doomed, self._pause)
            except FileNotFoundError:
                continue
            except Exception as error:
                # The thread lives on, for the other containers.
                if getattr(error, "errno", None) in _NOT_OURS:
                    _log.exception("cannot delete %s: the engine did not make it", doomed)
                    continue
                _log.exception("cannot delete %s now: trying again later", doomed)
                self._retries.later(f"delete {doomed}", partial(_remove_at_last, doomed))
            finally:
                self._count()

    def _count(self) -> None:
        with self._state:
            self._deleted += 1
            self._state.notify_all()

    def _pause(self) -> None:
        with self._state:
            self._state.wait_for(lambda: self._awaited or not self._urgent, _LONGEST_PAUSE_SECONDS)

    def _next(self) -> Path | None:
        with self._state:
            if self._queue:
                return self._queue.popleft()
            self._working = False
            self._state.notify_all()
            return None


def _remove_at_last(doomed: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        remove(doomed)


def _real(container: Path) -> Path:
    """Return the path with the links of its parents resolved, but not a link at its end."""
    return container.parent.resolve() / container.name


def _refusal(reason: str, path: Path) -> Conflict:
    return Conflict(f"refusing to delete a directory: {reason}", str(path))
