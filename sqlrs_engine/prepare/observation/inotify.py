"""Linux's inotify: what happens to files and in directories (inotify(7)).

Three system calls, which the standard library does not have. Events of network filesystems are
those of this machine's own programs, and these are the ones that count here.
"""

import ctypes
import fcntl
import os
import struct
import termios
from collections.abc import Iterator
from typing import Any, NamedTuple

ACCESS = 0x1
MODIFY = 0x2
CLOSE_WRITE = 0x8
CLOSE_NOWRITE = 0x10
OPEN = 0x20
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000
IS_DIRECTORY = 0x40000000

_WATCHED = (
    ACCESS
    | MODIFY
    | CLOSE_WRITE
    | CLOSE_NOWRITE
    | OPEN
    | MOVED_FROM
    | MOVED_TO
    | CREATE
    | DELETE
    | MOVE_SELF
)
_EXCLUDE_UNLINKED = 0x4000000
_HEADER = struct.Struct("iIII")


class Event(NamedTuple):
    """Something that happened in a watched place; ``name`` is empty for the place itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """A queue of events; used by one thread at a time."""

    def __init__(self) -> None:
        """Open the queue. Raises OSError when the user has too many."""
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def add(self, path: str) -> int:
        """Watch a directory or a file; return the number of the watch, one for each inode.

        Raises OSError when it cannot be read or the user has too many watches.
        """
        mask = ctypes.c_uint32(_WATCHED | _EXCLUDE_UNLINKED)
        return self._checked(
            self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask)
        )

    def events(self) -> Iterator[Event]:
        """Yield the events that have come, without waiting for any."""
        waiting = bytearray(struct.calcsize("i"))
        fcntl.ioctl(self._descriptor, termios.FIONREAD, waiting)
        (size,) = struct.unpack("i", waiting)
        data = os.read(self._descriptor, size) if size else b""
        at = 0
        while at < len(data):
            watch, mask, _, length = _HEADER.unpack_from(data, at)
            at += _HEADER.size + length
            yield Event(watch, mask, os.fsdecode(data[at - length : at].rstrip(b"\0")))

    def close(self) -> None:
        """Close the queue; the kernel may take some ten milliseconds for that."""
        os.close(self._descriptor)

    def _checked(self, result: int) -> int:
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result
