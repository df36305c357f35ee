r"""One walk through a script and its includes, in the order that psql takes (psql's command.c)."""

import hashlib
import posixpath
import re
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.prepare.psql.interpreter.conditional_stack import Conditions
from sqlrs_engine.prepare.psql.interpreter.session import SessionState, Start
from sqlrs_engine.prepare.psql.interpreter.session_commands import other_server
from sqlrs_engine.prepare.psql.interpreter.written_files import WrittenFiles
from sqlrs_engine.prepare.psql.lexer.copy_command import parse_copy
from sqlrs_engine.prepare.psql.lexer.meta_arguments import meta_arguments, printable, runs_program
from sqlrs_engine.prepare.psql.lexer.meta_commands import (
    CONDITIONS,
    CONNECTS,
    EDITS,
    INCLUDES,
    OUTPUTS,
    QUITS,
    RELATIVE,
)
from sqlrs_engine.prepare.psql.lexer.script import Command, Doubt, Script, Statement, Text
from sqlrs_engine.prepare.psql.lexer.settings import ReadingMode
from sqlrs_engine.prepare.psql.local_files import canonical
from sqlrs_engine.prepare.psql.script_files import ScriptFiles

_DEEPEST = 100
_NOTHING = "/dev/null"
_SHOWN = 100
_SERVER_WRITES = re.compile(r"\bto\s+'|\bprogram\s*'|\blo_export\s*\(", re.IGNORECASE)


class ScriptWalk:
    """Follows what psql does, and collects what it reads."""

    def __init__(
        self,
        files: ScriptFiles,
        session: SessionState,
        *,
        reads_stdin: bool,
        generated: Container[str] = (),
    ) -> None:
        """``reads_stdin`` tells that the script itself is psql's standard input.

        ``generated`` are files that programs were seen to write before.
        """
        self._files = files
        self.outputs = WrittenFiles(session.start, generated)
        self._session = session
        self._reads_stdin = reads_stdin
        self._chain: list[Path] = []
        self._guards: list[Conditions] = []
        self._unsure = False  # whether what is found may be none of psql's business
        self.read: list[FileRead] = []
        self.sources: dict[str, str] = {}
        self.notes: list[str] = []
        self.volatile: str | None = None

    # -- scripts --

    def file(self, path: Path, name: str, where: str) -> str:
        """Return the digest of a script file; ``name`` is what psql knows it by."""
        if path in self._chain or len(self._chain) >= _DEEPEST:
            chain = printable(" → ".join(str(each) for each in (*self._chain, path)))
            if any(each.nested for each in self._guards):
                self._doubt(
                    f"{where}: only psql knows how many times it includes {chain}", lost=True
                )
                return "recursive"
            raise InvalidArgument("recursive include", f"{where}: {chain}" if where else chain)
        script, read = self._files.script(path)
        self._took(read, script.digest)
        self._chain.append(path)
        try:
            return self.script(script, printable(str(path)), name)
        finally:
            self._chain.pop()

    def command(self, script: Script, text: bytes) -> str:
        """Return the digest of a ``-c``: one backslash command, or else plain SQL."""
        digest = hashlib.sha256()
        _add(digest, "text", hashlib.sha256(text).hexdigest())
        if text.startswith(b"\\"):
            commands = (part for part in script.parts(self._mode) if isinstance(part, Command))
            first = next(commands, None)
            if first is not None:
                _add(digest, first.name, *self._follow(first, "-c:1", None))
        else:
            for part in script.parts(self._mode):
                if isinstance(part, Statement):
                    self._statement(part, f"-c:{part.line}")
        return digest.hexdigest()

    def script(self, script: Script, name: str, known_as: str | None) -> str:
        r"""Return the digest of a script; ``known_as`` tells where ``\ir`` looks."""
        digest = hashlib.sha256()
        conditions, outer = Conditions(), self._session.mode.active
        self._guards.append(conditions)
        for part in script.parts(self._mode):
            where = "" if isinstance(part, Text) else f"{name}:{part.line}"
            if isinstance(part, Text):
                _add(digest, "text", part.digest)
            elif isinstance(part, Doubt):
                self._doubt(f"{where}: {part.reason}", lost=True)
            elif isinstance(part, Statement):
                self._statement(part, where)
            elif part.name in CONDITIONS:
                _add(digest, part.name, part.arguments)
                self._condition(part, conditions, where)
            elif part.name in QUITS:
                _add(digest, part.name, part.arguments)
                conditions.quit()
            elif self._session.mode.active is False:
                _add(digest, part.name, part.arguments)
            else:
                _add(digest, part.name, *self._follow(part, where, known_as))
            active = conditions.active if outer or conditions.active is False else None
            self._session.mode = replace(self._session.mode, active=active)
        self._guards.pop()
        self._session.mode = replace(self._session.mode, active=outer)
        return digest.hexdigest()

    def _mode(self) -> ReadingMode:
        return self._session.mode

    def _condition(self, command: Command, conditions: Conditions, where: str) -> None:
        given = meta_arguments(command.arguments)
        if command.name == "endif":
            conditions.end()
        elif command.name == "else":
            conditions.otherwise()
        else:
            holds = self._session.condition(given)
            if self._session.mode.active is not False:
                self._note_programs(command, where)
            if command.name == "if":
                conditions.begin(holds)
            else:
                conditions.otherwise(holds)

    def _statement(self, statement: Statement, where: str) -> None:
        self._session.statement(statement)
        if statement.server:
            text = printable(" ".join(statement.text.split())[:_SHOWN])
            self.notes.append(f"{where}: files of the server: {text}")
            if _SERVER_WRITES.search(statement.text):
                self.outputs.programs.append(statement.text)

    # -- commands --

    def _follow(self, command: Command, where: str, known_as: str | None) -> Iterable[str]:
        """Return what a command adds to the digest, and take note of what it does."""
        name = command.name
        if name not in ("copy", "!"):
            self._note_programs(command, where)
        if name in INCLUDES:
            return self._include(command, where, known_as)
        if name == "copy":
            return self._copy(command, where)
        if name == "lo_import":
            return self._import(command, where)
        given = meta_arguments(command.arguments)
        if name in OUTPUTS or name in ("!", "lo_export", "s"):
            self._output(command, given, where)
        elif name in EDITS:
            self._doubt(f"{where}: only psql knows what the editor returns", lost=True)
        elif name in CONNECTS:
            self._connect(command, given, where)
        elif name == "cd":
            with _located(where):
                self._change_directory(given)
        else:
            self._assign(name, given, where)
        return (command.arguments,)

    def _assign(self, name: str, given: list[str], where: str) -> None:
        """Follow a command that changes variables, the environment or the encoding."""
        session, sure = self._session, self._session.mode.active is True
        values = [session.value(word) for word in given]
        known = [each for each in values if each is not None]
        text = "".join(known[1:]) if len(known) == len(values) else None
        if name == "gset":
            session.forget_variables()
        elif not values:
            return
        elif name == "encoding":
            session.encoding(values[0], sure=session.mode.certain)
        elif values[0] is None:
            session.forget_variables()
            session.home = None
        elif name == "set":
            session.assign(values[0], text, sure=sure)
        elif name == "unset":
            session.remove(values[0], sure=sure)
        elif name == "setenv":
            if values[0] == "HOME":
                session.home = text if sure else None
        else:
            # The name is the last word of a \prompt, and the first of a \getenv.
            session.assign((known[-1] if name == "prompt" else values[0]), None, sure=sure)
            if name == "prompt" and self._reads_stdin:
                self._doubt(f"{where}: \\prompt reads a line of the script", lost=True)

    def _change_directory(self, given: list[str]) -> None:
        session = self._session
        name = session.value(given[0], semicolon=False) if given else session.home_directory()
        if name is None or session.mode.active is not True:
            session.directory_known = False
            return
        self._files.admit(name if given else "~")
        if session.directory is None and not name.startswith("/"):
            return
        there = (session.directory or Path("/")) / name
        if session.mode.stops is not True:
            enterable = self._files.enterable(there)
            if enterable is not True:
                session.directory_known &= enterable is False
                return
        session.directory = there
        session.directory_known |= name.startswith("/")

    def _connect(self, command: Command, given: list[str], where: str) -> None:
        session = self._session
        other = other_server(given, lambda word: session.value(word, semicolon=False))
        if other:
            raise InvalidArgument(
                "a script must not connect to another server",
                f"{where}: \\{command.name} {printable(command.arguments)}: leave out the host "
                "and the port, or name a database only",
            )
        if other is None:
            self._doubt(f"{where}: only psql knows which server \\{command.name} connects to")
        session.begin_session(sure=session.mode.certain)

    def _output(self, command: Command, given: list[str], where: str) -> None:
        """Note what a command writes."""
        if command.name == "!":
            self.outputs.programs.append(command.arguments)
            return
        if command.name in ("g", "gx") and given and given[0].startswith("("):
            while given and not given.pop(0).endswith(")"):
                pass
        if command.name == "lo_export":
            given = given[1:]
        if command.arguments.startswith("|") or (given and given[0].startswith("|")):
            self.outputs.programs.append(command.arguments)
        elif given:
            kept = command.name in ("g", "gx")
            name = self._session.value(given[0], semicolon=kept)
            if name is None:
                self.outputs.unknown = True
            else:
                self.writes(name, where)

    def writes(self, name: str, where: str) -> None:
        """Note that psql writes a file."""
        expanded = self._session.expand_tilde(name)
        directory = self._session.directory if self._session.directory_known else None
        if expanded is not None and (directory is not None or expanded.startswith("/")):
            self.outputs.files.add(self._files.resolve((directory or Path("/")) / expanded))
        else:
            self.outputs.programs.append(name)

    # -- files --

    def _include(self, command: Command, where: str, known_as: str | None) -> Iterable[str]:
        """Return the content of an included script."""
        name, _ = self._first(command, where)
        if name is None:
            return (command.arguments,)
        if name == "-":
            if self._reads_stdin:
                self._doubt(f"{where}: \\{command.name} - reads the rest of the script", lost=True)
            return (command.arguments,)
        name = canonical(name)
        if command.name in RELATIVE and known_as and not self._files.absolute(name):
            name = canonical(posixpath.join(posixpath.dirname(known_as), name))
        path = self._path(name, where)

        def content(path: Path) -> tuple[str, ...]:
            return (self.file(path, name, where),)

        return self._content(path, command, where, self._files.script, content)

    def _copy(self, command: Command, where: str) -> Iterable[str]:
        r"""Return the arguments of a ``\copy`` with the content of the file for its name."""
        copy = parse_copy(command.arguments)
        if copy is None:
            return (command.arguments,)
        if copy.direction == "to":
            if copy.program is not None:
                self.outputs.programs.append(copy.program)
            elif copy.file is not None:
                self.writes(canonical(copy.file), where)
            return (command.arguments,)
        if copy.program is not None:
            self.notes.append(f"{where}: the output of a program: {printable(copy.program)}")
        elif copy.own_stream and self._reads_stdin:
            self._doubt(f"{where}: pstdin is the rest of the script", lost=True)
        if copy.file is None:
            return (command.arguments,)
        self._admit(copy.file, where)
        expanded = self._session.expand_tilde(copy.file)
        if expanded is None:
            self._doubt(f"{where}: only psql knows where {copy.file} is")
            return (command.arguments,)
        path = self._path(canonical(expanded), where)
        return self._data(path, command, copy.rest, where)

    def _import(self, command: Command, where: str) -> Iterable[str]:
        r"""Return what a ``\lo_import`` reads, whose file the system looks for."""
        name, rest = self._first(command, where)
        path = self._path(name, where) if name else None
        return self._data(path, command, ("", rest), where)

    def _data(
        self, path: Path | None, command: Command, rest: tuple[str, str], where: str
    ) -> Iterable[str]:
        """Return the content of a data file, after the text around its name."""

        def content(path: Path) -> tuple[str, ...]:
            digest, read = self._files.digest(path)
            self._took(read, digest)
            return (*rest, digest)

        return self._content(path, command, where, self._files.digest, content)

    def _content(
        self,
        path: Path | None,
        command: Command,
        where: str,
        opened: Callable[[Path], object],
        content: Callable[[Path], tuple[str, ...]],
    ) -> tuple[str, ...]:
        """Return what a command reads, in place of its file's name where that can be told.

        ``opened`` raises InvalidArgument when the file itself cannot be read.
        """
        if path is None:
            return (command.arguments,)
        if self.outputs.include(path, self._files.resolve(path)):
            # Its content is the script's own work, and changes while psql reads it.
            self._doubt(f"{where}: {path} is written by the script itself", lost=True)
            if self._files.exists(path):
                _, read = self._files.digest(path)
                self.read += [own] if (own := self._files.own(read)) else []
            return (command.arguments, "generated")
        if self._files.irregular(path):
            if self._files.resolve(path) != _NOTHING:
                self._doubt(f"{where}: {path} is not a regular file", lost=True)
            return (command.arguments,)
        may_fail = self._session.mode.stops is not True
        may_write = self.outputs.may_be_any_file
        may_be_absent = may_fail or may_write or self._unsure or not self._session.mode.active
        if may_be_absent and not self._files.exists(path):
            if may_write:
                self.outputs.uses_earlier |= not self.outputs.any
                self._doubt(f"{where}: {path} does not exist yet", lost=True)
            return (command.arguments, "absent")
        with _located(where):
            if may_fail:
                try:
                    opened(path)
                except InvalidArgument:  # psql goes on without it
                    return (command.arguments, "absent")
            return content(path)

    def _first(self, command: Command, where: str) -> tuple[str | None, str]:
        """Return the name that a command's first word comes to, and what follows it.

        None when there is no file of that name, or when only psql knows it.
        """
        given = meta_arguments(command.arguments)
        if not given:
            return None, ""
        name = self._session.value(given[0], semicolon=False)
        if name is None:
            self._doubt(f"{where}: only psql knows which file \\{command.name} {given[0]} reads")
        if not name:
            return None, ""
        self._admit(name, where)
        expanded = self._session.expand_tilde(name)
        if expanded is None:
            self._doubt(f"{where}: only psql knows where {name} is")
        return expanded, command.arguments.partition(given[0])[2]

    def _admit(self, name: str, where: str) -> None:
        with _located(where):
            self._files.admit(name)

    def _path(self, name: str, where: str) -> Path | None:
        """Return where a name leads; None when only psql knows."""
        path = Path(name)
        if self._files.absolute(name):
            return path
        if not self._session.directory_known:
            self._doubt(f"{where}: only psql knows in which directory {name} is")
            return None
        if self._session.directory is None:
            raise InvalidArgument(
                "relative path without a work_dir: give a work_dir, or an absolute path",
                f"{where}: {printable(name)}",
            )
        return self._session.directory / path

    def finish(self) -> Start:
        """Look back at all that was read; return how the next step's session begins."""
        kept: list[FileRead] = []
        for read in self.read:
            own: FileRead | None = read
            if self._files.resolve(read.path) in self.outputs.files:
                self._doubt(f"{read.path} is read and then written by the script itself")
                own = self._files.own(read)
            kept += [own] if own else []
        self.read = kept
        written, programs = self.outputs.following(self._session.start)
        return replace(self._session.start, written=written, programs=programs)

    # -- what comes of it --

    def _note_programs(self, command: Command, where: str) -> None:
        if runs_program(command.arguments):
            shown = printable(command.arguments[:_SHOWN])
            self.notes.append(f"{where}: the output of a program: \\{command.name} {shown}")

    def _took(self, read: FileRead, digest: str) -> None:
        self.read.append(read)
        self.sources[printable(str(read.path))] = digest

    def _doubt(self, reason: str, *, lost: bool = False) -> None:
        """Note that the digest does not tell all; ``lost`` where psql is from here on."""
        self._unsure |= lost
        self.volatile = self.volatile or printable(reason)


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Say in errors about a file where it is read."""
    try:
        yield
    except InvalidArgument as error:
        details = printable(error.details or "")
        raise InvalidArgument(
            error.message, details if details.startswith(where) else f"{where}: {details}"
        ) from error


def _add(digest: "hashlib._Hash", *fields: str) -> None:
    """Add fields to a digest so that no two sequences of fields look the same."""
    for each in fields:
        data = each.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(data))
        digest.update(data)
    digest.update(b";")
