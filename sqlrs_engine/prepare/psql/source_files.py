"""The files of a request, on this machine or on a client's: what planning asks of either."""

import posixpath
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from sqlrs_engine.prepare.file_reads import FileRead

from .arguments import StepArguments
from .lexer.script import Script


class ScriptFiles(Protocol):
    """The files that the script of one step reads."""

    def script(self, path: Path) -> tuple[Script, FileRead]:
        """Return a script. Raises InvalidArgument if it cannot be read."""

    def digest(self, path: Path) -> tuple[str, FileRead]:
        """Return the SHA-256 of a data file. Raises InvalidArgument if it cannot be read."""

    def check_name(self, name: str) -> None:
        """Raise InvalidArgument for a file name that is not allowed in a script."""

    def is_absolute(self, name: str) -> bool:
        """Return whether a name does not depend on a directory."""

    def exists(self, path: Path) -> bool:
        """Return whether there is anything at a path."""

    def is_here(self, path: Path) -> bool:
        """Return whether a file is known to be on this machine."""

    def is_special(self, path: Path) -> bool:
        """Return whether a path is that of a pipe or device, which can be read only once."""

    def is_enterable(self, path: Path) -> bool | None:
        """Return whether psql can change to a directory, None if that is not known."""

    def resolve(self, path: Path) -> str:
        """Return a name that is the same for all paths of a file."""

    def rewritable(self, file: FileRead) -> FileRead | None:
        """Return a file as psql needs it that the script itself writes; None if it does not."""


class RequestFiles(Protocol):
    """All files of a request."""

    @property
    def work_dir(self) -> str | None:
        """The client's working directory, unless the request gives one."""

    def argument_path(self, path: str) -> str:
        """Return the path of a file that an argument names. Raises InvalidArgument."""

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None if there is none."""

    def check_options(self, step: StepArguments) -> None:
        """Raise InvalidArgument for options that are not allowed."""

    def for_step(self) -> ScriptFiles:
        """Return the files as one step sees them."""

    def collect_missing(self) -> AbstractContextManager[None]:
        """Raise SourceInputsMissing at the end of the block if any file was missing."""


def canonical(path: str) -> str:
    """Return a path as psql opens it: ``..`` removes the name before it, even a symbolic link.

    (canonicalize_path in PostgreSQL's path.c, since 15.)
    """
    return posixpath.normpath(path).replace("//", "/", 1) if path else path
