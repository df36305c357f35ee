"""Files that preparations read: their content is remembered while they stay the same."""

import hashlib
import os
import posixpath
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

from sqlrs_engine.errors import Conflict, InvalidArgument

from .psql.arguments import StepArguments
from .psql.script import Script

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
        """Return whether the file is still as it was."""
        try:
            return _identity(self.path.stat()) == self.identity
        except OSError:
            return False


class LocalFiles:
    """Reads scripts and data files; thread-safe."""

    def __init__(self) -> None:
        self._scripts = _Memory(lambda file, read: Script(file.read(), lambda: _same_content(read)))
        self._data = _Memory(lambda file, read: hashlib.file_digest(file, "sha256").hexdigest())

    root: Path | None = None
    work_dir: str | None = None

    def bind(self, path: str) -> str:
        """Return the path of a file that an argument names, as psql opens it.

        Raises InvalidArgument.
        """
        if not Path(path).is_absolute():
            raise InvalidArgument("file path must be absolute", path)
        path = canonical(path)
        check_readable(path)
        return path

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None when there is none."""
        return Path(path) if path else None

    def check_options(self, step: StepArguments) -> None:
        """Allow any options."""

    def of_step(self) -> "LocalFiles":
        """Return the files as one run of psql sees them."""
        return self

    def complete(self) -> AbstractContextManager[None]:
        """Do nothing: what is missing here is an error at once."""
        return nullcontext()

    def admit(self, name: str) -> None:
        """Allow any name in a script."""

    def absolute(self, name: str) -> bool:
        """Return whether a name does not depend on a directory."""
        return name.startswith("/")

    def exists(self, path: Path) -> bool:
        """Return whether there is anything at a path."""
        try:
            path.stat()
        except (OSError, ValueError):
            return False
        return True

    def irregular(self, path: Path) -> bool:
        """Return whether a path is that of a pipe or of a device: something read only once."""
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            return False
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)

    def enterable(self, path: Path) -> bool | None:
        """Return whether psql can change to a directory."""
        try:
            return path.is_dir() and os.access(path, os.X_OK)
        except (OSError, ValueError):
            return False

    def resolve(self, path: Path) -> str:
        """Return the name by which two paths of the same file can be compared."""
        try:
            return os.path.realpath(path)
        except (OSError, ValueError):
            return str(path)

    def own(self, read: FileRead) -> FileRead | None:
        """Return what psql must find of a file that it writes itself: it is there already."""
        return None

    def script(self, path: Path) -> tuple[Script, FileRead]:
        """Return a script. Raises InvalidArgument when it cannot be read."""
        return self._scripts.read(path)

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument when it can't be read."""
        return self._data.read(path)


class _Memory(Generic[T]):
    """What was made of files, kept while they stay the same."""

    def __init__(self, make: Callable[[BufferedReader, FileRead], T]) -> None:
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
                content = self._make(file, FileRead(path, identity))
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


def canonical(path: str) -> str:
    """Return a path as psql opens it: names followed by ``..`` are dropped, links or not.

    (canonicalize_path in PostgreSQL's path.c, since 15.)
    """
    return posixpath.normpath(path).replace("//", "/", 1) if path else path


def _same_content(read: FileRead) -> bytes:
    """Return the content of a file that was read before. Raises Conflict when it changed."""
    try:
        with _open(read.path) as file:
            if _identity(os.fstat(file.fileno())) == read.identity:
                return file.read()
    except (OSError, ValueError) as error:
        raise _unreadable(str(read.path), error) from error
    raise Conflict("a script changed while it was read: prepare again", str(read.path))


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
