r"""The commands that read or write files, such as ``\i``, ``\copy`` and ``\o``."""

import posixpath
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.psql.lexer.copy_command import Copy, parse_copy
from sqlrs_engine.prepare.psql.lexer.meta_commands import (
    INCLUDES,
    RELATIVE_INCLUDES,
    split_arguments,
)
from sqlrs_engine.prepare.psql.lexer.parts import Command
from sqlrs_engine.prepare.psql.source_files import ScriptFiles, canonical

from .findings import Findings, located
from .session import Session
from .written_files import WrittenFiles

_NULL_DEVICE = "/dev/null"
_BESIDE = (
    "cannot read file: psql looks for it in its working directory, not beside the script: "
    "{or_relative}prepare in the directory of the script (work_dir)"
)
_ABOVE = (
    "cannot read file: the working directory is not the one that the script is written for: "
    "prepare in that one (work_dir)"
)

# Takes the path of a script, the name by which psql knows it, and where it is included.
Include = Callable[[Path, str, str], str]
# The fields that a command adds to the digest.
Fields = tuple[str, ...]


class FileCommands:
    """Follows commands to their files, and returns what they add to the script's digest.

    That is the content of a file in place of its name, or else the arguments as they are.
    """

    def __init__(
        self,
        files: ScriptFiles,
        session: Session,
        findings: Findings,
        written: WrittenFiles,
        include: Include,
        *,
        reads_stdin: bool,
    ) -> None:
        """``include`` returns the digest of an included script.

        ``reads_stdin`` is whether the script is psql's standard input.
        """
        self._files = files
        self._session = session
        self._findings = findings
        self._written = written
        self._include = include
        self._reads_stdin = reads_stdin

    # -- commands that read --

    def include(self, command: Command, location: str, script_name: str | None) -> Fields:
        r"""Follow an ``\i`` or ``\ir``; ``script_name`` is where psql found the script itself."""
        name, _ = self._file_name(command, location)
        if name is None:
            return (command.arguments,)
        if name == "-":
            if self._reads_stdin:
                reason = f"{location}: \\{command.name} - reads the rest of the script"
                self._findings.doubt(reason, lost=True)
            return (command.arguments,)
        name = canonical(name)
        if command.name in RELATIVE_INCLUDES and script_name and not self._files.is_absolute(name):
            name = canonical(posixpath.join(posixpath.dirname(script_name), name))
            script_name = None  # it is not looked for in the working directory

        def content(path: Path) -> Fields:
            return (self._include(path, name, location),)

        path = self._path(name, location)
        with self._advising(path, name, script_name, command, location):
            return self._read(path, command, location, self._files.script, content)

    def copy(self, command: Command, location: str, script_name: str | None) -> Fields:
        r"""Follow a ``\copy``."""
        copy = parse_copy(command.arguments)
        if copy is None:
            return (command.arguments,)
        if copy.direction == "to":
            self._copy_to(copy)
            return (command.arguments,)
        if copy.program is not None:
            self._findings.note_program(location, copy.program)
        elif copy.own_stream and self._reads_stdin:
            self._findings.doubt(f"{location}: pstdin is the rest of the script", lost=True)
        if copy.file is None:
            return (command.arguments,)
        with located(location):
            self._files.check_name(copy.file)
        expanded = self._session.expand_tilde(copy.file)
        if expanded is None:
            self._findings.doubt_name(f"{location}: only psql knows where {copy.file} is")
            return (command.arguments,)
        name = canonical(expanded)
        path = self._path(name, location)
        with self._advising(path, name, script_name, command, location):
            return self._read_data(path, command, copy.rest, location)

    def import_large_object(
        self, command: Command, location: str, script_name: str | None
    ) -> Fields:
        r"""Follow a ``\lo_import``; unlike other names, its file's is not made canonical."""
        name, rest = self._file_name(command, location)
        path = self._path(name, location) if name else None
        with self._advising(path, name or "", script_name, command, location):
            return self._read_data(path, command, ("", rest), location)

    # -- commands that write --

    def write(self, command: Command) -> None:
        """Note the file or the program to which a command writes."""
        if command.name == "!":
            self._run_program(command.arguments)
            return
        given = split_arguments(command.arguments)
        sends = command.name in ("g", "gx")
        if sends and given and given[0].startswith("("):  # options, as in \g (format=csv) x.csv
            while given and not given.pop(0).endswith(")"):
                pass
        if command.name == "lo_export":
            given = given[1:]
        if command.arguments.startswith("|") or (given and given[0].startswith("|")):
            self._run_program(command.arguments)
        elif given:
            name = self._session.expand(given[0], semicolon=sends)
            if name is None:
                self._written.unknown = True
            else:
                self.write_file(name)

    def write_file(self, name: str) -> None:
        """Note that psql writes a file."""
        expanded = self._session.expand_tilde(name)
        directory = self._session.directory if self._session.directory_known else None
        if expanded is not None and (directory is not None or expanded.startswith("/")):
            path = (directory or Path("/")) / expanded
            self._written.files.add(self._files.resolve(path))
        else:
            self._written.programs.append(name)

    def _run_program(self, text: str) -> None:
        """Note that psql runs a program, which may write files."""
        self._findings.runs_programs = True
        self._written.programs.append(text)

    def _copy_to(self, copy: Copy) -> None:
        if copy.program is not None:
            self._run_program(copy.program)
        elif copy.file is not None:
            self.write_file(canonical(copy.file))

    # -- files --

    def _read_data(
        self, path: Path | None, command: Command, rest: tuple[str, str], location: str
    ) -> Fields:
        """Follow a data file; ``rest`` is the text before and after its name."""

        def content(path: Path) -> Fields:
            digest, file = self._files.digest(path)
            self._findings.read(file, digest)
            return (*rest, digest)

        return self._read(path, command, location, self._files.digest, content)

    def _read(
        self,
        path: Path | None,
        command: Command,
        location: str,
        check: Callable[[Path], object],
        content: Callable[[Path], Fields],
    ) -> Fields:
        """Return the ``content`` of a file, or the command's arguments if it has none.

        ``check`` raises InvalidArgument if the file itself cannot be read; ``path`` is None if
        only psql knows it.
        """
        if path is None:
            return (command.arguments,)
        if self._written.check_read(path, self._files.resolve(path)):
            self._read_own(path, location)
            return (command.arguments, "generated")
        if self._files.is_special(path):
            if self._files.resolve(path) != _NULL_DEVICE:
                self._findings.doubt(f"{location}: {path} is not a regular file", lost=True)
            return (command.arguments,)
        settings = self._session.settings
        may_fail = settings.on_error_stop is not True
        may_be_written = self._written.may_be_any_file
        may_be_absent = may_fail or may_be_written or self._findings.lost or not settings.active
        if may_be_absent and not self._files.exists(path):
            self._findings.looked_for_absent = True
            if may_be_written:
                self._written.uses_earlier |= not self._written.any
                self._findings.doubt(f"{location}: {path} does not exist yet", lost=True)
            return (command.arguments, "absent")
        with located(location):
            if may_fail:
                try:
                    check(path)
                except InvalidArgument:  # psql continues without it
                    self._findings.looked_for_absent = True
                    return (command.arguments, "absent")
            return content(path)

    @contextmanager
    def _advising(
        self, path: Path | None, name: str, script_name: str | None, command: Command, location: str
    ) -> Iterator[None]:
        """Add advice to the error for an absent file that is beside the script or above it.

        ``script_name`` is None if that makes no difference.
        """
        try:
            yield
        except InvalidArgument as error:
            if path is None or script_name is None or self._files.is_absolute(name):
                raise
            script = self._path(script_name, location)
            places = [] if script is None else script.parents
            found = next((each for each in places if self._files.is_here(each / name)), None)
            # An error of a file that it includes passes through here as well.
            if script is None or found is None or self._files.exists(path):
                raise
            or_relative = "write \\ir, or " if command.name in INCLUDES else ""
            advice = _BESIDE.format(or_relative=or_relative) if found == script.parent else _ABOVE
            there = printable(f"in {found}, there is {name}")
            raise InvalidArgument(advice, f"{error.details} ({there})") from error

    def _read_own(self, path: Path, location: str) -> None:
        """Note that the script reads a file that it writes, whose content changes meanwhile."""
        self._findings.doubt(f"{location}: {path} is written by the script itself", lost=True)
        if self._files.exists(path):
            _, file = self._files.digest(path)
            if own := self._files.rewritable(file):
                self._findings.files.append(own)

    def _file_name(self, command: Command, location: str) -> tuple[str | None, str]:
        """Return the file name that is a command's first argument, and the text after it.

        The name is None if there is none, or if only psql knows it.
        """
        given = split_arguments(command.arguments)
        if not given:
            return None, ""
        name = self._session.expand(given[0], semicolon=False)
        if name is None:
            self._findings.doubt_name(
                f"{location}: only psql knows which file \\{command.name} {given[0]} reads"
            )
        if not name:
            return None, ""
        with located(location):
            self._files.check_name(name)
        expanded = self._session.expand_tilde(name)
        if expanded is None:
            self._findings.doubt_name(f"{location}: only psql knows where {name} is")
        return expanded, command.arguments.partition(given[0])[2]

    def _path(self, name: str, location: str) -> Path | None:
        """Return the path that a name leads to, None if only psql knows.

        Raises InvalidArgument for a relative name if the request gives no directory.
        """
        path = Path(name)
        if self._files.is_absolute(name):
            return path
        if not self._session.directory_known:
            self._findings.doubt_name(f"{location}: only psql knows in which directory {name} is")
            return None
        if self._session.directory is None:
            raise InvalidArgument(
                "relative path without a work_dir: give a work_dir, or an absolute path",
                f"{location}: {printable(name)}",
            )
        return self._session.directory / path
