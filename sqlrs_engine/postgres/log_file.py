"""The log of a server: written by it, owned by the engine, quoted when a start fails."""

import ctypes
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LIMIT_BYTES = 16 * 1024 * 1024
_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 20
_RESERVE = 16 * 1024
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE


@dataclass(frozen=True, slots=True)
class LogFile:
    """An open log; everything before ``offset`` is from earlier starts."""

    descriptor: int
    offset: int

    def reserve(self) -> None:
        """Reserve space beyond the log's end, so that the server can report a full disk."""
        libc = ctypes.CDLL(None, use_errno=True)
        end = os.fstat(self.descriptor).st_size
        # No matter if the filesystem cannot, or has no room.
        libc.fallocate(self.descriptor, _KEEP_SIZE, ctypes.c_long(end), ctypes.c_long(_RESERVE))

    def tail(self) -> str:
        """Return the last lines written since the log was opened."""
        size = os.fstat(self.descriptor).st_size
        start = max(self.offset, size - _TAIL_BYTES)
        text = os.pread(self.descriptor, size - start, start).decode("utf-8", "replace")
        return "\n".join(text.splitlines()[-_TAIL_LINES:])


@contextmanager
def open_log(path: Path) -> Iterator[LogFile]:
    """Open a log for appending, emptied first when it has grown past 16 MiB.

    Its directory may belong to the servers' user, so anything at ``path`` but a plain file of
    the engine's own is replaced.
    """
    descriptor = _open(path)
    try:
        if os.fstat(descriptor).st_size > LIMIT_BYTES:
            os.ftruncate(descriptor, 0)
        yield LogFile(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        path.unlink()
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    path.unlink()
    return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
