r"""The interpreter: follows a script and its includes in psql's order (psql's mainloop.c)."""

import hashlib
import re
from collections.abc import Container
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileRead, printable
from sqlrs_engine.prepare.psql.lexer.meta_commands import (
    CONDITIONALS,
    CONNECTS,
    EDITS,
    INCLUDES,
    QUITS,
    WRITES_FILE,
    runs_program,
    split_arguments,
)
from sqlrs_engine.prepare.psql.lexer.parts import Command, Doubt, Statement, Text
from sqlrs_engine.prepare.psql.lexer.script import Script
from sqlrs_engine.prepare.psql.lexer.settings import LexerSettings
from sqlrs_engine.prepare.psql.source_files import ScriptFiles

from .conditional_stack import ConditionalStack
from .content_digest import ContentDigest
from .file_commands import Fields, FileCommands
from .findings import Findings
from .session import Session, SessionStart
from .session_commands import SessionCommands
from .written_files import WrittenFiles

_DEEPEST = 100
_SHOWN_CHARACTERS = 100
_SERVER_WRITES = re.compile(r"\bto\s+'|\bprogram\s*'|\blo_export\s*\(", re.IGNORECASE)


class Interpreter:
    """Follows one psql process, and collects what it reads and writes."""

    def __init__(
        self,
        files: ScriptFiles,
        session: Session,
        *,
        reads_stdin: bool,
        generated: Container[str] = (),
    ) -> None:
        """``reads_stdin`` is whether the script is psql's standard input.

        ``generated`` are the files that programs were seen to write before.
        """
        self.findings = Findings()
        self.written = WrittenFiles(session.start, generated)
        self._files = files
        self._session = session
        self._session_commands = SessionCommands(
            session, files, self.findings, reads_stdin=reads_stdin
        )
        self._file_commands = FileCommands(
            files, session, self.findings, self.written, self.file, reads_stdin=reads_stdin
        )
        self._open_scripts: list[Path] = []
        self._conditionals: list[ConditionalStack] = []

    def option_output(self, name: str) -> None:
        """Note that an option makes psql write a file."""
        self._file_commands.write_file(name)

    def file(self, path: Path, name: str, location: str = "") -> str:
        """Return the digest of a script file, which psql knows by ``name``.

        ``location`` is where it is included. Raises InvalidArgument if it cannot be read, for a
        recursive include, and for a connection to another server.
        """
        if path in self._open_scripts or len(self._open_scripts) >= _DEEPEST:
            chain = printable(" → ".join(str(each) for each in (*self._open_scripts, path)))
            if any(each.nested for each in self._conditionals):
                reason = f"{location}: only psql knows how many times it includes {chain}"
                self.findings.doubt(reason, lost=True)
                return "recursive"
            details = f"{location}: {chain}" if location else chain
            raise InvalidArgument("recursive include", details)
        script, file = self._files.script(path)
        self.findings.read(file, script.digest)
        self._open_scripts.append(path)
        try:
            return self.script(script, printable(str(path)), name)
        finally:
            self._open_scripts.pop()

    def command(self, script: Script, text: bytes) -> str:
        """Return the digest of a ``-c``: either one backslash command or plain SQL."""
        digest = ContentDigest()
        digest.add("text", hashlib.sha256(text).hexdigest())
        if text.startswith(b"\\"):
            parts = script.parts(self._lexer_settings)
            first = next((part for part in parts if isinstance(part, Command)), None)
            if first is not None:
                digest.add(first.name, *self._execute(first, "-c:1", None))
        else:
            for part in script.parts(self._lexer_settings):
                if isinstance(part, Statement):
                    self._send(part, f"-c:{part.line}")
        return digest.hexdigest()

    def script(self, script: Script, shown_name: str, name: str | None) -> str:
        r"""Return the digest of a script.

        ``shown_name`` appears in messages; ``\ir`` looks beside ``name``.
        """
        digest, session = ContentDigest(), self._session
        conditionals, outer_active = ConditionalStack(), session.settings.active
        self._conditionals.append(conditionals)
        for part in script.parts(self._lexer_settings):
            if isinstance(part, Text):
                digest.add("text", part.digest)
                continue
            location = f"{shown_name}:{part.line}"
            if isinstance(part, Doubt):
                self.findings.doubt(f"{location}: {part.reason}", lost=True)
            elif isinstance(part, Statement):
                self._send(part, location)
            elif part.name in CONDITIONALS:
                digest.add(part.name, part.arguments)
                self._branch(part, conditionals, location)
            elif part.name in QUITS:
                digest.add(part.name, part.arguments)
                conditionals.quit()
            elif session.settings.active is False:
                digest.add(part.name, part.arguments)
            else:
                digest.add(part.name, *self._execute(part, location, name))
            active = conditionals.active
            self._set_active(active if outer_active or active is False else None)
        self._conditionals.pop()
        self._set_active(outer_active)
        return digest.hexdigest()

    def finish(self) -> SessionStart:
        """Look back at all files that were read; return how the next step's session begins."""
        kept: list[FileRead] = []
        for file in self.findings.files:
            own: FileRead | None = file
            if self._files.resolve(file.path) in self.written.files:
                self.findings.doubt(f"{file.path} is read and then written by the script itself")
                own = self._files.rewritable(file)
            kept += [own] if own else []
        self.findings.files = kept
        written, programs = self.written.following()
        return replace(self._session.start, written=written, programs=programs)

    def _set_active(self, active: bool | None) -> None:
        settings = self._session.settings
        if active is not settings.active:
            self._session.settings = replace(settings, active=active)

    def _lexer_settings(self) -> LexerSettings:
        return self._session.settings

    def _branch(self, command: Command, conditionals: ConditionalStack, location: str) -> None:
        if command.name == "endif":
            conditionals.end()
        elif command.name == "else":
            conditionals.otherwise()
        else:
            holds = self._session.condition(split_arguments(command.arguments))
            if self._session.settings.active is not False:
                self._note_programs(command, location)
            if command.name == "if":
                conditionals.begin(holds)
            else:
                conditionals.otherwise(holds)

    def _send(self, statement: Statement, location: str) -> None:
        self._session.execute(statement)
        if statement.server_files:
            self.findings.note_server_files(location, statement.text)
            if _SERVER_WRITES.search(statement.text):
                self.written.programs.append(statement.text)

    def _execute(self, command: Command, location: str, script_name: str | None) -> Fields:
        """Follow a command, and return the fields that it adds to the digest."""
        name = command.name
        if name not in ("copy", "!"):
            self._note_programs(command, location)
        if name in INCLUDES:
            return self._file_commands.include(command, location, script_name)
        if name == "copy":
            return self._file_commands.copy(command, location, script_name)
        if name == "lo_import":
            return self._file_commands.import_large_object(command, location, script_name)
        if name in WRITES_FILE:
            self._file_commands.write(command)
        elif name in EDITS:
            reason = f"{location}: only psql knows what the editor returns"
            self.findings.doubt(reason, lost=True)
        elif name in CONNECTS:
            self._session_commands.connect(command, location)
        elif name == "cd":
            self._session_commands.change_directory(command, location)
        else:
            self._session_commands.change_settings(command, location)
        return (command.arguments,)

    def _note_programs(self, command: Command, location: str) -> None:
        if runs_program(command.arguments):
            shown = command.arguments[:_SHOWN_CHARACTERS]
            self.findings.note_program(location, f"\\{command.name} {shown}")
