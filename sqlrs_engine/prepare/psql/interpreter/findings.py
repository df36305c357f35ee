"""The findings about a script: its files, and what only psql can know."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileRead, printable

_SHOWN_CHARACTERS = 100


@dataclass(slots=True)
class Findings:
    """The files that a script reads, and the reasons why its digest may not cover everything.

    ``sources`` are the digests of the files by their printable paths. ``notes`` name what else
    the script reads; the digest ignores it. ``unnamed`` are the reads of files which only psql
    knows, as reasons for doubt. ``volatile`` is the first other reason why the result must not be
    reused, None if there is none.
    """

    files: list[FileRead] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    volatile: str | None = None
    lost: bool = False  # whether only psql knows what it does from here on
    looked_for_absent: bool = False  # whether it depends on a file or directory not to exist
    runs_programs: bool = False  # whether psql, not the server, runs programs

    def read(self, file: FileRead, digest: str) -> None:
        """Note that psql reads a file."""
        self.files.append(file)
        self.sources[printable(str(file.path))] = digest

    def doubt(self, reason: str, *, lost: bool = False) -> None:
        """Note that the digest does not cover everything.

        ``lost`` is whether from here on only psql knows what it does.
        """
        self.lost |= lost
        self.volatile = self.volatile or printable(reason)

    def doubt_name(self, reason: str) -> None:
        """Note that only psql knows which file is read."""
        self.unnamed.append(printable(reason))

    def note_program(self, location: str, command: str) -> None:
        """Note that the script uses the output of a program."""
        self.runs_programs = True
        self.notes.append(f"{location}: the output of a program: {printable(command)}")

    def note_server_files(self, location: str, statement: str) -> None:
        """Note that the server reads or writes its own files for a statement."""
        shown = printable(" ".join(statement.split())[:_SHOWN_CHARACTERS])
        self.notes.append(f"{location}: files of the server: {shown}")


@contextmanager
def located(location: str) -> Iterator[None]:
    """Add the location in the script to the details of an InvalidArgument."""
    try:
        yield
    except InvalidArgument as error:
        details = printable(error.details or "")
        if not details.startswith(location):
            details = f"{location}: {details}"
        raise InvalidArgument(error.message, details) from error
