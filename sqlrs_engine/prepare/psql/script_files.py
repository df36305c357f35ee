"""The files that scripts read, on this machine or on a client's."""

import posixpath
from pathlib import Path
from typing import Protocol

from sqlrs_engine.prepare.file_reads import FileRead

from .lexer.script import Script


class ScriptFiles(Protocol):
    """The files that scripts read."""

    def script(self, path: Path) -> tuple[Script, FileRead]:
        """Return a script. Raises InvalidArgument when it cannot be read."""

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument when it can't be read."""

    def absolute(self, name: str) -> bool:
        """Return whether a name does not depend on a directory."""

    def exists(self, path: Path) -> bool:
        """Return whether there is anything at a path."""

    def irregular(self, path: Path) -> bool:
        """Return whether a path is that of a pipe or of a device: something read only once."""

    def enterable(self, path: Path) -> bool | None:
        """Return whether psql can change to a directory, None when that is not known."""

    def resolve(self, path: Path) -> str:
        """Return the name by which two paths of the same file can be compared."""

    def own(self, read: FileRead) -> FileRead | None:
        """Return what psql must find of a file that it writes itself, None when nothing."""

    def admit(self, name: str) -> None:
        """Raise InvalidArgument for a name that must not be in a script."""


def canonical(path: str) -> str:
    """Return a path as psql opens it: ``..`` removes the name before it, even a symbolic link.

    (canonicalize_path in PostgreSQL's path.c, since 15.)
    """
    return posixpath.normpath(path).replace("//", "/", 1) if path else path
