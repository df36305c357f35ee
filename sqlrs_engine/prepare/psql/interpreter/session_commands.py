r"""The commands that change the session: variables, directory, connection (psql's command.c)."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.psql.lexer.meta_commands import split_arguments
from sqlrs_engine.prepare.psql.lexer.parts import Command
from sqlrs_engine.prepare.psql.source_files import ScriptFiles

from .findings import Findings, located
from .session import Session

_URI = ("postgres://", "postgresql://")
_SERVER_PARAMETERS = frozenset({"host", "hostaddr", "port", "service", "servicefile"})
_PARAMETER = re.compile(r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|\S*)")
# psql's own variables, quoted or not: they hold what it is connected to already.
_CONNECTED_TO = re.compile(r""":['"]?(?:DBNAME|USER|HOST|PORT)['"]?;*\Z""")


class SessionCommands:
    """Applies commands to a session."""

    def __init__(
        self, session: Session, files: ScriptFiles, findings: Findings, *, reads_stdin: bool
    ) -> None:
        """``reads_stdin`` is whether the script is psql's standard input."""
        self._session = session
        self._files = files
        self._findings = findings
        self._reads_stdin = reads_stdin

    def change_settings(self, command: Command, location: str) -> None:
        """Apply a command that changes variables, the environment or the encoding."""
        session, certain = self._session, self._session.settings.active is True
        values = [session.expand(argument) for argument in split_arguments(command.arguments)]
        known = [value for value in values if value is not None]
        text = "".join(known[1:]) if len(known) == len(values) else None
        if command.name == "gset":
            session.forget_variables()
        elif not values:
            return
        elif command.name == "encoding":
            session.set_encoding(values[0], certain=session.settings.certain)
        elif values[0] is None:
            session.forget_variables()
            session.home = None
        elif command.name == "set":
            session.assign(values[0], text, certain=certain)
        elif command.name == "unset":
            session.unset(values[0], certain=certain)
        elif command.name == "setenv":
            if values[0] == "HOME":
                session.home = text if certain else None
        elif command.name == "prompt":
            session.assign(known[-1], None, certain=certain)  # the variable is named last
            if self._reads_stdin:
                self._findings.doubt(f"{location}: \\prompt reads a line of the script", lost=True)
        else:
            session.assign(values[0], None, certain=certain)

    def change_directory(self, command: Command, location: str) -> None:
        r"""Apply a ``\cd``. Raises InvalidArgument for a directory that is not allowed."""
        session = self._session
        given = split_arguments(command.arguments)
        name = session.expand(given[0], semicolon=False) if given else session.home_directory()
        if name is None or session.settings.active is not True:
            session.directory_known = False
            return
        with located(location):
            self._files.check_name(name if given else "~")
        if session.directory is None and not name.startswith("/"):
            return
        there = (session.directory or Path("/")) / name
        if session.settings.on_error_stop is not True:
            enterable = self._files.is_enterable(there)
            self._findings.looked_for_absent |= enterable is False
            if enterable is not True:
                session.directory_known &= enterable is False
                return
        session.directory = there
        session.directory_known |= name.startswith("/")

    def connect(self, command: Command, location: str) -> None:
        r"""Apply a ``\connect``. Raises InvalidArgument if it leads to another server."""
        session = self._session
        arguments = split_arguments(command.arguments)
        other = _is_other_server(arguments, lambda each: session.expand(each, semicolon=False))
        if other:
            raise InvalidArgument(
                "a script must not connect to another server",
                f"{location}: \\{command.name} {printable(command.arguments)}: leave out the host "
                "and the port, or name a database only",
            )
        if other is None:
            self._findings.doubt(
                f"{location}: only psql knows which server \\{command.name} connects to"
            )
        session.reconnect(certain=session.settings.certain)


def _is_other_server(arguments: Sequence[str], expand: Callable[[str], str | None]) -> bool | None:
    r"""Return whether a ``\connect`` leads to another server, None if only psql knows.

    ``expand`` returns what an argument stands for. Rules: PostgreSQL docs, 34.1.1, and
    do_connect in psql's command.c.
    """
    given = ["-" if _CONNECTED_TO.match(each) else expand(each) for each in arguments]
    if given and (given[0] or "").startswith("-reuse-previous="):
        given = given[1:]
    answers = [_names_server(given[0])] if given else []
    answers += [None if each is None else each not in ("-", "") for each in given[2:4]]
    if True in answers:
        return True
    return None if None in answers else False


def _names_server(database: str | None) -> bool | None:
    """Return whether a database name is a connection string that names a server."""
    if database is None:
        return None
    if database.startswith(_URI):
        try:
            parts = urlsplit(database)
        except ValueError:
            return True
        return bool(parts.netloc.rpartition("@")[2]) or not _SERVER_PARAMETERS.isdisjoint(
            parse_qs(parts.query)
        )
    return any(name in _SERVER_PARAMETERS for name, _ in _PARAMETER.findall(database))
