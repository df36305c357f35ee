"""The lock of a state store: one engine per store, and a lock file that names its holder.

The kernel releases the lock when its holder ends, so a lock is never stale. The text in the file
serves only the message for the next engine that tries.
"""

import contextlib
import errno
import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlrs_engine.clock import utc_now
from sqlrs_engine.errors import Conflict, StoreDamaged

_POLL_SECONDS = 0.05
DIRECTORY_SECONDS = 2.0
_NO_FILE = (errno.EISDIR, errno.ELOOP, errno.ENXIO)
_NO_LOCKS = (errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOTSUP)  # on NFS, for directories
_WIDTH = 128


class StoreLock:
    """The lock of a state store, held for as long as the store is in use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._held = contextlib.ExitStack()  # closed in reverse: the file is what others wait for
        self._started_at = ""

    def acquire(self, patience: float = 0.0, *, start_patience: float = 0.0) -> None:
        """Acquire the lock for an engine that starts.

        Wait up to ``patience`` seconds for a holder that has announced its stop, and up to
        ``start_patience`` seconds for one that is starting to become ready or fail. Do not wait for
        a holder that serves.

        Raises:
            Conflict: Another engine holds the lock; the error names it.
            StoreDamaged: The lock is not a regular file.
            OSError: The lock cannot be opened.
        """
        with contextlib.ExitStack() as opened:
            fd = opened.enter_context(_open_file(self._path))
            self._lock(fd, patience, start_patience)
            directory = opened.enter_context(_open_directory(self._path.parent))
            self._lock_directory(directory)
            self._held = opened.pop_all()
        self._fd = fd
        self._started_at = utc_now()
        with contextlib.suppress(OSError):  # a full disk: the lock holds without its text
            _write(fd, {"pid": os.getpid(), "startedAt": self._started_at, "starting": True})

    def announce_ready(self) -> None:
        """Announce that the engine serves, so that another engine gives up at once."""
        if self._fd is not None:
            with contextlib.suppress(OSError):  # on a full disk the other engine waits in vain
                _write(self._fd, {"pid": os.getpid(), "startedAt": self._started_at})

    def announce_stop(self) -> None:
        """Announce that the engine is stopping, so that another engine waits for the lock."""
        if self._fd is not None:
            with contextlib.suppress(OSError):  # on a full disk the other engine does not wait
                _write(self._fd, {"pid": os.getpid(), "stopping": True})

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        # The file stays, because another engine may have it open. So does its text: an engine that
        # reads it just before the lock is free must still see that the holder is stopping.
        self._fd = None
        self._held.close()

    def _lock(self, fd: int, patience: float, start_patience: float) -> None:
        began = time.monotonic()
        while not _try_lock(fd):
            holder = _read(fd)
            waited = time.monotonic() - began
            if not (
                (holder.get("stopping") and waited < patience)
                or (_is_starting(holder) and waited < start_patience)
            ):
                raise Conflict(
                    "the state store is in use by another engine", self._describe(holder)
                )
            # flock(2) has no timeout, and another process cannot wake us up.
            time.sleep(_POLL_SECONDS)

    def _lock_directory(self, directory: int) -> None:
        """Lock the store's directory as well: the holder's lock file may have been deleted."""
        deadline = time.monotonic() + DIRECTORY_SECONDS
        while not _try_lock(directory):
            # A holder that dies releases the file a moment earlier than the directory.
            if time.monotonic() >= deadline:
                raise Conflict(
                    "the state store is in use by another engine",
                    f"{self._path.parent} is held by an engine whose {self._path.name} was"
                    " deleted; stop it (sqlrs-engine stop) or choose another store",
                )
            time.sleep(_POLL_SECONDS)

    def _describe(self, holder: dict[str, Any]) -> str:
        who = f"pid {holder['pid']}" if "pid" in holder else "an unknown process"
        since = f" since {holder['startedAt']}" if "startedAt" in holder else ""
        return f"{self._path.parent} is held by {who}{since}; stop it or choose another store"


@contextlib.contextmanager
def _open_file(path: Path) -> Iterator[int]:
    """Open the lock file. Raises StoreDamaged when it is not a regular file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise _damaged(path, str(error)) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _damaged(path, "it is not a file")
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _open_directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _damaged(path: Path, reason: str) -> StoreDamaged:
    return StoreDamaged(
        "the state store's lock cannot be taken",
        f"{path}: {reason}; remove it and start the engine again",
    )


def _try_lock(fd: int) -> bool:
    """Lock a file or directory; return False when another process holds the lock.

    A filesystem without locks for directories (NFS) counts as unlocked.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if not (error.errno in _NO_LOCKS and stat.S_ISDIR(os.fstat(fd).st_mode)):
            raise
    return True


def _read(fd: int) -> dict[str, Any]:
    """Return the text of the holder, an empty object while it is being written."""
    try:
        holder = json.loads(os.pread(fd, _WIDTH, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_starting(holder: dict[str, Any]) -> bool:
    """Return whether the holder is starting: until it writes, the text is missing or outdated."""
    return bool(holder.get("starting")) or not _is_alive(holder.get("pid"))


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _write(fd: int, holder: dict[str, Any]) -> None:
    # A single write of a fixed width, so that a reader never sees half of it.
    os.pwrite(fd, json.dumps(holder).ljust(_WIDTH).encode(), 0)
