"""Files that preparations read: their content is remembered while they stay the same."""

import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import InvalidArgument
from .arguments import StepArguments
from .script import Scan, scan

_REMEMBERED = 4096
# A file changed again within a clock tick of its last change may look the same; what is
# this old cannot (the "racy" entries of git's index).
_SETTLED_NS = 1_000_000_000

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

    def unchanged(self) -> bool:
        """Tell whether the file is still as it was."""
        try:
            return _identity(self.path.stat()) == self.identity
        except OSError:
            return False


class SourceFiles:
    """Reads scripts and data files; thread-safe."""

    def __init__(self) -> None:
        self._scripts = _Memory(lambda file: scan(file.read()))
        self._data = _Memory(lambda file: hashlib.file_digest(file, "sha256").hexdigest())

    root: Path | None = None
    work_dir: str | None = None

    def bind(self, path: str) -> str:
        """Return the path of a file that an argument names. Raises InvalidArgument."""
        if not Path(path).is_absolute():
            raise InvalidArgument("file path must be absolute", path)
        check_readable(path)
        return path

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None when there is none."""
        return Path(path) if path else None

    def check_options(self, step: StepArguments) -> None:
        """Allow any options."""

    def of_step(self) -> "SourceFiles":
        """Return the files as one run of psql sees them."""
        return self

    def complete(self) -> AbstractContextManager[None]:
        """Do nothing: what is missing here is an error at once."""
        return nullcontext()

    def admit(self, name: str) -> None:
        """Allow any name in a script."""

    def exists(self, path: Path) -> bool:
        """Tell whether there is anything at a path."""
        try:
            path.stat()
        except (OSError, ValueError):
            return False
        return True

    def script(self, path: Path) -> tuple[Scan, FileRead]:
        """Return a script taken apart. Raises InvalidArgument when it cannot be read."""
        return self._scripts.read(path)

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument when it can't be read."""
        return self._data.read(path)


class _Memory(Generic[T]):
    """What was made of files, kept while they stay the same."""

    def __init__(self, make: Callable[[BufferedReader], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[Identity, T]] = OrderedDict()

    def read(self, path: Path) -> tuple[T, FileRead]:
        try:
            with _open(path) as file:
                identity = _identity(os.fstat(file.fileno()))
                with self._lock:
                    known = self._known.get(path)
                if known is not None and known[0] == identity:
                    return known[1], FileRead(path, identity)
                content = self._make(file)
        except (OSError, ValueError) as error:
            raise _unreadable(str(path), error) from error
        self._remember(path, identity, content)
        return content, FileRead(path, identity)

    def _remember(self, path: Path, identity: Identity, content: T) -> None:
        if time.time_ns() - max(identity[3:]) < _SETTLED_NS:
            return
        with self._lock:
            self._known[path] = identity, content
            self._known.move_to_end(path)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def check_readable(path: str) -> None:
    """Raise InvalidArgument unless ``path`` is a file that can be read."""
    try:
        with _open(Path(path)):
            return
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str, error: OSError | ValueError) -> InvalidArgument:
    """Say why a file cannot be read; one that is not there needs no reason."""
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
