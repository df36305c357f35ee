"""An upload in progress."""

import hashlib
import os
from collections.abc import Callable
from typing import TypeVar

from sqlrs_engine.errors import InvalidArgument, StorageFull
from sqlrs_engine.host.disk_space import space_on, with_relief

from .directory import CONTENT, DumpDirectory, new_file
from .room import UPLOAD, Room

_LARGEST_RESERVATION = 64 * 1024**2

T = TypeVar("T")


class Upload:
    """Writes a dump piece by piece; ``close`` discards it unless it was kept.

    Used by one thread at a time. ``size`` is the number of bytes so far.
    """

    def __init__(self, directory: DumpDirectory, room: Room, declared: int | None) -> None:
        """``declared`` is the size in bytes if the client declared one.

        Raises StorageFull, CacheLimitTooSmall, CacheUnavailable.
        """
        self._directory = directory
        self._room = room
        self._seen = hashlib.sha256()
        self._reserved = 0
        self.size = 0
        self._reserve(declared or 0)
        self.place = self.with_space(directory.new)
        self._file = self.with_space(lambda: new_file(self.place / CONTENT))

    @property
    def digest(self) -> str:
        """The SHA-256 of what was written."""
        return self._seen.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append a chunk. Raises StorageFull, CacheLimitTooSmall, CacheUnavailable."""
        self._reserve(self.size + len(chunk))
        pending = memoryview(chunk)

        def append() -> None:
            nonlocal pending
            while pending:
                pending = pending[self._file.write(pending) :]

        self.with_space(append)
        self._seen.update(chunk)
        self.size += len(chunk)

    def complete(self) -> None:
        """Bring the content to the disk. Raises InvalidArgument if it is empty, StorageFull."""
        if not self.size:
            raise InvalidArgument("the dump is empty: send the output of pg_dump")
        self.with_space(lambda: os.fsync(self._file.fileno()))
        self._file.close()

    def close(self) -> None:
        """Discard the upload, unless it was kept."""
        self._file.close()
        self._directory.remove(self.place)

    def with_space(self, work: Callable[[], T]) -> T:
        """Do work on the disk; while the disk is full, evict and repeat it. Raises StorageFull."""

        def attempt() -> T:
            with space_on(self._directory.root):
                return work()

        def relieve(failure: StorageFull, size: int) -> bool:
            return self._room.relieve(UPLOAD, failure, growth=size)

        return with_relief(attempt, relieve)

    def _reserve(self, size: int) -> None:
        """Have room made for the upload up to this size, in steps that grow with it."""
        if size <= self._reserved:
            return
        step = max(size - self._reserved, min(self._reserved, _LARGEST_RESERVATION))
        self._room.make_room(UPLOAD, growth=step)
        self._reserved += step
