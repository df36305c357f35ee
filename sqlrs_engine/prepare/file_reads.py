"""Files that were read, whether they have changed since, and caches of their content."""

import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Generic, TypeVar

from sqlrs_engine.errors import Conflict, InvalidArgument

REMEMBERED = 4096
REMEMBERED_DIGESTS = 32768
# A file changed again within a clock tick of its last change may look the same; what is
# this old cannot (the "racy" entries of git's index).
SETTLED_NS = 1_000_000_000

Identity = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file as it was when it was read: any change of it changes ``identity``."""

    path: Path
    identity: Identity

    @classmethod
    def now(cls, path: Path) -> "FileRead":
        """Return a file as it is now. Raises OSError."""
        return cls(path, _identity(path.stat()))

    @classmethod
    def of(cls, file: BufferedReader, path: Path) -> "FileRead":
        """Return an open file as it is now. Raises OSError."""
        return cls(path, _identity(os.fstat(file.fileno())))

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.identity[2]

    def unchanged(self) -> bool:
        """Return whether the file is unchanged."""
        try:
            return _identity(self.path.stat()) == self.identity
        except OSError:
            return False

    def read_again(self) -> bytes:
        """Return the content. Raises Conflict when it has changed, InvalidArgument."""
        try:
            with _open(self.path) as file:
                if _identity(os.fstat(file.fileno())) == self.identity:
                    return file.read()
        except (OSError, ValueError) as error:
            raise _unreadable(str(self.path), error) from error
        raise Conflict("a file changed while the job read it: prepare again", str(self.path))


class FileMemory(Generic[T]):
    """A cache of values made from files, each valid until its file changes; thread-safe."""

    def __init__(
        self, make: Callable[[BufferedReader, FileRead], T], limit: int | None = None
    ) -> None:
        """``limit`` is the number of files remembered, by default ``REMEMBERED``."""
        self._make = make
        self._limit = limit
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[Identity, T]] = OrderedDict()

    def read(self, path: Path) -> tuple[T, FileRead]:
        """Return what a file's content makes. Raises InvalidArgument when it cannot be read."""
        with self._lock:
            known = self._known.get(path)
        try:
            # A file that can no longer be read has another identity, too.
            if known is not None and known[0] == _identity(path.stat()):
                return known[1], FileRead(path, known[0])
            with _open(path) as file:
                read = FileRead(path, _identity(os.fstat(file.fileno())))
                made = self._make(file, read)
        except (OSError, ValueError) as error:
            raise _unreadable(str(path), error) from error
        self._remember(read, made)
        return made, read

    def _remember(self, read: FileRead, made: T) -> None:
        if time.time_ns() - max(read.identity[3:]) < SETTLED_NS:
            return
        with self._lock:
            self._known[read.path] = read.identity, made
            self._known.move_to_end(read.path)
            if len(self._known) > (self._limit or REMEMBERED):
                self._known.popitem(last=False)


class FileDigests:
    """The SHA-256 digests of files, cached; thread-safe."""

    def __init__(self) -> None:
        self._memory = FileMemory(
            lambda file, read: hashlib.file_digest(file, "sha256").hexdigest(), REMEMBERED_DIGESTS
        )

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a file. Raises InvalidArgument when it cannot be read."""
        return self._memory.read(path)


def check_readable(path: str) -> None:
    """Raise InvalidArgument unless ``path`` is a file that can be read."""
    try:
        with _open(Path(path)):
            return
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def printable(path: str) -> str:
    """Return a path as it can be shown: bytes that are not UTF-8 become U+FFFD."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _unreadable(path: str, error: OSError | ValueError) -> InvalidArgument:
    """Return the error for a file that cannot be read; no reason is added for a missing file."""
    if isinstance(error, FileNotFoundError):
        return InvalidArgument("cannot read file", path)
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidArgument("cannot read file", f"{path}: {reason}")


def _open(path: Path) -> BufferedReader:
    """Open a regular file; a pipe would block, and it cannot be read twice."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise ValueError("it is a directory" if stat.S_ISDIR(mode) else "it is not a regular file")
    return os.fdopen(descriptor, "rb")


def _identity(status: os.stat_result) -> Identity:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
