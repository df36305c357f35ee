"""The log of a server: written by it, owned by the engine, quoted when a start fails."""

import ctypes
import os
import re
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
_ERROR_BYTES = 256 * 1024
# After "%m [%p] ", the default log_line_prefix, or "%m [%p] %e " of servers that build states. The
# lines that continue a message begin with a tab.
_ERROR = re.compile(
    r"^[^\n\[]*\[(?P<pid>\d+)\] (?:\w{5} )?"
    r"(?P<error>(?:ERROR|FATAL):  (?!terminating |current transaction is aborted).*(?:\n\t.*)*)"
    r"(?P<more>(?:\n[^\n\[]*\[(?P=pid)\] (?:\w{5} )?(?:DETAIL|HINT):  .*(?:\n\t.*)*)*)",
    re.MULTILINE,
)
_PREFIX = re.compile(r"^[^\n\[\t]*\[\d+\] (?:\w{5} )?", re.MULTILINE)


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
        return "\n".join(self._end(_TAIL_BYTES).splitlines()[-_TAIL_LINES:])

    def last_error(self) -> str | None:
        """Return the last error of a session since the log was opened, with detail and hint.

        It reads as psql shows it: ``ERROR:  relation "x" does not exist``. What follows from an
        earlier error does not count, nor do sessions that were terminated.
        """
        errors = list(_ERROR.finditer(self._end(_ERROR_BYTES)))
        return _PREFIX.sub("", errors[-1]["error"] + errors[-1]["more"]) if errors else None

    def _end(self, most: int) -> str:
        """Return what was written since the log was opened: its last bytes, as text."""
        size = os.fstat(self.descriptor).st_size
        start = max(self.offset, size - most)
        return os.pread(self.descriptor, size - start, start).decode("utf-8", "replace")


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
