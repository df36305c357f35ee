"""The files that psql opens, observed with inotify(7)."""

import ctypes
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_OPEN = 0x20
_IS_DIRECTORY = 0x40000000
_HEAD = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class Opens:
    """The files that were opened below a directory."""

    def __init__(self, descriptor: int, watched: dict[int, Path]) -> None:
        self._descriptor = descriptor
        self._watched = watched

    def seen(self) -> list[Path]:
        """Return the files opened since the last call, in order."""
        found = []
        while True:
            try:
                events = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return found
            position = 0
            while position < len(events):
                watch, mask, _, length = _HEAD.unpack_from(events, position)
                position += _HEAD.size
                name = os.fsdecode(events[position : position + length].rstrip(b"\0"))
                position += length
                assert watch in self._watched, "the queue of events overflowed"
                if mask & _OPEN and not mask & _IS_DIRECTORY and name:
                    found.append(self._watched[watch] / name)


@contextmanager
def watching(directories: Sequence[Path]) -> Iterator[Opens]:
    """Watch the files that are directly in some directories."""
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0, os.strerror(ctypes.get_errno())
    try:
        watched = {}
        for directory in directories:
            watch = _libc.inotify_add_watch(descriptor, os.fsencode(directory), _OPEN)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            watched[watch] = directory
        yield Opens(descriptor, watched)
    finally:
        os.close(descriptor)
