"""One engine per store: an exclusive lock file that says who holds it.

The kernel drops the lock with its holder, so a lock can never be stale; the text in
the file is only there to be shown to the next one who asks.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from typing import Any

from .clock import utc_now
from .errors import Conflict

_POLL_SECONDS = 0.05
_WIDTH = 128


class StoreLock:
    """The lock of a store; hold it for as long as the store is in use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None
        self._started_at = ""

    def acquire(self, patience: float = 0.0, *, start_patience: float = 0.0) -> None:
        """Take the lock, on behalf of an engine that starts.

        A holder that announced that it is stopping is given ``patience`` seconds to
        finish, another that starts itself ``start_patience`` seconds to be ready or to
        fail; a holder at work is not waited for.

        Raises Conflict naming the holder, OSError when the file cannot be opened.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            self._lock(fd, patience, start_patience)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        self._started_at = utc_now()
        with contextlib.suppress(OSError):  # a full disk: the lock holds without its text
            _write(fd, {"pid": os.getpid(), "startedAt": self._started_at, "starting": True})

    def announce_ready(self) -> None:
        """Let a newcomer know that the engine serves: it is to use this one."""
        if self._fd is not None:
            with contextlib.suppress(OSError):  # a full disk: the newcomer just waits in vain
                _write(self._fd, {"pid": os.getpid(), "startedAt": self._started_at})

    def announce_stop(self) -> None:
        """Let a newcomer know that waiting for the lock is worthwhile."""
        if self._fd is not None:
            with contextlib.suppress(OSError):  # a full disk: the newcomer just does not wait
                _write(self._fd, {"pid": os.getpid(), "stopping": True})

    def release(self) -> None:
        """Give the lock back; idempotent."""
        fd, self._fd = self._fd, None
        if fd is not None:
            # The file stays, a newcomer may have it open; and so does what is in it: one who
            # reads it just before the lock is free must still see that waiting is worthwhile.
            os.close(fd)

    def _lock(self, fd: int, patience: float, start_patience: float) -> None:
        began = time.monotonic()
        while not _try_lock(fd):
            holder = _read(fd)
            waited = time.monotonic() - began
            if not (
                (holder.get("stopping") and waited < patience)
                or (_is_starting(holder) and waited < start_patience)
            ):
                raise Conflict("the store is in use by another engine", self._describe(holder))
            # flock(2) has no timeout, and another process cannot wake us up.
            time.sleep(_POLL_SECONDS)

    def _describe(self, holder: dict[str, Any]) -> str:
        who = f"pid {holder['pid']}" if "pid" in holder else "an unknown process"
        since = f" since {holder['startedAt']}" if "startedAt" in holder else ""
        return f"{self._path.parent} is held by {who}{since}; stop it or choose another store"


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> dict[str, Any]:
    """Return what the holder wrote; nothing while it is writing."""
    try:
        holder = json.loads(os.pread(fd, _WIDTH, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_starting(holder: dict[str, Any]) -> bool:
    """Say so too of a holder that has not written yet: the text is of one before it, or none."""
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
    # One write of a fixed width, so that a reader never sees half of it.
    os.pwrite(fd, json.dumps(holder).ljust(_WIDTH).encode(), 0)
