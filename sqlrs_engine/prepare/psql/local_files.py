"""Files on this machine, as psql reads them."""

import os
import stat
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileDigests, FileMemory, FileRead, check_readable

from .arguments import StepArguments
from .lexer.script import Script
from .source_files import canonical


class LocalFiles:
    """Scripts and data files, for all requests; thread-safe."""

    work_dir: str | None = None

    def __init__(self, digests: FileDigests | None = None) -> None:
        """``digests`` remembers the digests of data files; others may use it as well."""
        self._scripts = FileMemory(lambda file, read: Script(file.read(), read.read_again))
        self._digests = digests or FileDigests()

    def argument_path(self, path: str) -> str:
        """Return the path of a file that an argument names, as psql opens it.

        Raises InvalidArgument unless the path is absolute and the file can be read.
        """
        if not Path(path).is_absolute():
            raise InvalidArgument("file path must be absolute", path)
        path = canonical(path)
        check_readable(path)
        return path

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None if there is none."""
        return Path(path) if path else None

    def check_options(self, step: StepArguments) -> None:
        """Allow any options."""

    def for_step(self) -> "LocalFiles":
        """Return the files as one step sees them."""
        return self

    def collect_missing(self) -> AbstractContextManager[None]:
        """Collect nothing: a file that is missing on this machine is an error at once."""
        return nullcontext()

    def check_name(self, name: str) -> None:
        """Allow any name in a script."""

    def is_absolute(self, name: str) -> bool:
        """Return whether a name does not depend on a directory."""
        return name.startswith("/")

    def exists(self, path: Path) -> bool:
        """Return whether there is anything at a path."""
        try:
            path.stat()
        except (OSError, ValueError):
            return False
        return True

    def is_here(self, path: Path) -> bool:
        """Return whether there is a regular file at a path."""
        try:
            return path.is_file()
        except (OSError, ValueError):
            return False

    def is_special(self, path: Path) -> bool:
        """Return whether a path is that of a pipe or device, which can be read only once."""
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):
            return False
        return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)

    def is_enterable(self, path: Path) -> bool | None:
        """Return whether psql can change to a directory."""
        try:
            return path.is_dir() and os.access(path, os.X_OK)
        except (OSError, ValueError):
            return False

    def resolve(self, path: Path) -> str:
        """Return a name that is the same for all paths of a file."""
        try:
            return os.path.realpath(path)
        except (OSError, ValueError):
            return str(path)

    def rewritable(self, file: FileRead) -> FileRead | None:
        """Return None: a file that the script itself writes needs nothing here."""
        return None

    def script(self, path: Path) -> tuple[Script, FileRead]:
        """Return a script. Raises InvalidArgument if it cannot be read."""
        return self._scripts.read(path)

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument if it cannot be read."""
        return self._digests.digest(path)
