r"""Plain dumps on their way to psql: what has to exist before a statement, and what is left out.

The data of COPY and the bodies of functions are skipped. Lines that are left out become comments,
so that psql counts the lines of the dump.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator

from sqlrs_engine.errors import DumpUnusable
from sqlrs_engine.postgres.base_recipe import ALWAYS

from .archive import DAMAGED
from .roles import Roles, mentioned, protects, subject

_TIMEOUT_MAJOR = 17
_LONGEST_LINE = 1 << 30  # PostgreSQL's limit for a statement, and for a row of COPY

_INTERESTING = re.compile(
    rb"^(?:"
    rb"(?P<copy>COPY [^\n]* FROM stdin(?: [^\n]*)?;)"
    rb"|-- (?:Data for )?Name: (?P<name>[^\n]*?); Type: (?P<type>[^;\n]*); "
    rb"Schema: (?P<schema>[^;\n]*)"
    rb"|-- PostgreSQL database (?:cluster )?dump(?P<edge>(?: complete)?)[ \r]*$"
    rb"|(?P<timeout>SET transaction_timeout = )"
    rb"|(?P<statement>(?:GRANT|REVOKE|ALTER|SET (?:SESSION AUTHORIZATION|ROLE)"
    rb"|(?:CREATE|DROP) (?:ROLE|USER|GROUP|POLICY|SCHEMA|DATABASE)) )"
    rb"|(?:[ \t]*AS|DO(?: LANGUAGE \w+)?) (?P<tag>\$\w*\$)"
    rb")",
    re.MULTILINE,
)
_LEFT_OUT = b"--"
_CHANGES = ("CREATE", "DROP", "ALTER")


class Script:
    """Edits the text of one dump for a server, and knows which objects its lines make."""

    def __init__(self, roles: Roles, major: int, on_log: Callable[[str], None]) -> None:
        """``major`` is the server's major version."""
        self._roles = roles
        self._knows_timeout = major >= _TIMEOUT_MAJOR
        self._on_log = on_log
        self._until: bytes | None = None  # the end of a function's body
        self._end_of_data: bytes | None = None
        self._is_complete = True
        self._lines = 0
        self._places: list[int] = []
        self._names: list[str] = []

    def check_complete(self) -> None:
        """Raise DumpUnusable when the text so far ends too early."""
        if self._end_of_data is not None or self._until is not None or not self._is_complete:
            last = f"after {self._names[-1]}" if self._names else "at its beginning"
            raise DumpUnusable(DAMAGED, f"it ends too early: {last}")

    @property
    def objects(self) -> int:
        """How many objects have come."""
        return len(self._names)

    def object_at(self, line: int) -> str | None:
        """Return the object that a line (from 1) belongs to."""
        at = bisect_right(self._places, line)
        return self._names[at - 1] if at else None

    def edited(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the text to run; the roles that it needs exist by then."""
        for text in _whole_lines(pieces):
            yield self._edited(text)
            self._lines += text.count(b"\n")

    def _edited(self, text: bytes) -> bytes:
        kept: list[bytes] = []
        copied = at = 0
        line, counted = self._lines + 1, 0
        while True:
            at = self._skipped(text, at)
            match = _INTERESTING.search(text, at)
            if match is None:
                break
            end = text.find(b"\n", match.end())
            end = len(text) if end < 0 else end
            at = end
            if match["copy"]:
                newline = b"\r\n" if text[end - 1 : end] == b"\r" else b"\n"
                self._end_of_data = b"\n\\." + newline
            elif match["tag"]:
                self._until, at = match["tag"], match.end()
            elif match["edge"] is not None:
                self._is_complete = bool(match["edge"])
            elif match["type"]:
                line += text.count(b"\n", counted, match.start())
                counted = match.start()
                self._places.append(line)
                self._names.append(_shown(match["type"], match["schema"], match["name"]))
            elif not self._keeps(match, text[match.start() : end]):
                kept += (text[copied : match.start()], _LEFT_OUT)
                copied = end
        return b"".join((*kept, text[copied:])) if kept else text

    def _skipped(self, text: bytes, at: int) -> int:
        """Return where statements go on, after data or a body that the text is within."""
        end = self._end_of_data
        if end is not None:
            if at == 0 and text.startswith(end[1:]):
                self._end_of_data = None
                return len(end) - 1
            found = text.find(end, at)
            if found < 0:
                return len(text)
            self._end_of_data = None
            return found + len(end)
        if self._until is not None:
            found = text.find(self._until, at)
            if found < 0:
                return len(text)
            at = found + len(self._until)
            self._until = None
        return at

    def _keeps(self, match: re.Match[bytes], text: bytes) -> bool:
        """Return whether a statement is to run; the roles that it needs are created."""
        if match["timeout"]:
            if not self._knows_timeout:
                self._on_log("left out SET transaction_timeout, which this PostgreSQL lacks")
            return self._knows_timeout
        statement = text.decode("utf-8", "replace")
        verb = statement.split(None, 1)[0]
        role = subject(statement) if verb in _CHANGES else None
        if role is None:
            self._roles.need(mentioned(statement))
            return True
        reason = self._reason_to_leave_out(verb, role)
        if reason is not None:
            self._on_log(f"left out {verb} ROLE {role}: {reason}")
            return False
        if verb == "CREATE":
            self._roles.will_exist(role)
        elif verb == "ALTER":
            self._roles.need(mentioned(statement))
        return True

    def _reason_to_leave_out(self, verb: str, role: str) -> str | None:
        if protects(role):
            return "the role is the engine's own"
        if verb == "CREATE" and role in self._roles.present:
            return "the role exists"
        if verb == "DROP" and role in ALWAYS:
            return "the role exists in every state"
        return None


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Join pieces of a text so that each ends with a line; the last may lack its end.

    Raises DumpUnusable for a line that is too long.
    """
    rest = bytearray()
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if not cut:
            rest += piece
            if len(rest) > _LONGEST_LINE:
                raise DumpUnusable(DAMAGED, "it has a line of more than 1 GiB: no server reads it")
            continue
        yield bytes(rest) + piece[:cut] if rest else piece[:cut]
        rest.clear()
        rest += piece[cut:]
    if rest:
        yield bytes(rest)


def _shown(kind: bytes, schema: bytes, name: bytes) -> str:
    """Return an object as people know it: ``TABLE public.film``."""
    place = "" if schema == b"-" else f"{schema.decode('utf-8', 'replace')}."
    return f"{kind.decode('utf-8', 'replace')} {place}{name.decode('utf-8', 'replace')}"
