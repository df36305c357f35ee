r"""psql scripts: where they read other files, found by psql's own lexical rules (psql(1)).

Only what a preparation's identity depends on is looked for: ``\i`` and its kin, ``\copy …
from`` and ``\lo_import``, and the commands that change what their arguments mean. Quoted
text, comments and the data of ``COPY … FROM STDIN`` are passed over.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Command", "Scan", "Text", "scan"]

INCLUDES = frozenset({"i", "include", "ir", "include_relative"})
READS = INCLUDES | {"copy", "lo_import"}
WRITES = frozenset({"!", "o", "out", "w", "write", "g", "gx", "lo_export"})
CONDITIONS = frozenset({"if", "elif", "else", "endif"})
VARIABLES = frozenset({"set", "unset"})
# What a variable holds after one of these is known to psql alone.
UNKNOWN_VARIABLES = frozenset({"gset", "prompt", "getenv"})
_KNOWN = READS | WRITES | CONDITIONS | VARIABLES | UNKNOWN_VARIABLES

# Nothing else matters in a script without one of these, and few scripts have any.
_READS_SOMETHING = re.compile(rb"\\(?:i|ir|include|include_relative|copy|lo_import)\b")
_TOKEN = re.compile(
    rb"""
      (?P<escaped>\b[eE]')
    | (?P<string>')
    | (?P<identifier>")
    | (?P<dollar>(?<![\w$])\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)
    | (?P<line>--)
    | (?P<block>/\*)
    | (?P<end>;)
    | \\(?P<command>[A-Za-z_]+|.)
    """,
    re.VERBOSE,
)
_STRING_END = re.compile(rb"'(?!')|''")
_ESCAPED_END = re.compile(rb"\\.|''|'", re.DOTALL)
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_COPY_FROM_STDIN = re.compile(rb"\bcopy\b[^;]*?\bfrom\s+stdin\b", re.IGNORECASE)
_COPY_END = re.compile(rb"^\\\.\r?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Text:
    """A stretch of script that reads no file: the SHA-256 of its bytes."""

    digest: str


@dataclass(frozen=True, slots=True)
class Command:
    r"""A backslash command, its arguments unparsed; ``line`` counts from 1.

    ``conditional`` tells that it stands between an ``\if`` and its ``\endif``.
    """

    name: str
    arguments: str
    line: int
    conditional: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """A script as a sequence of text and of the commands that matter."""

    parts: tuple[Text | Command, ...]


def scan(script: bytes) -> Scan:
    """Take a script apart."""
    if not _READS_SOMETHING.search(script):
        return Scan((Text(hashlib.sha256(script).hexdigest()),))
    return Scan(tuple(_parts(script)))


def _parts(script: bytes) -> Iterator[Text | Command]:
    done = depth = 0
    line, counted = 1, 0
    for start, name, end in _commands(script):
        if name == "if":
            depth += 1
        elif name == "endif":
            depth = max(0, depth - 1)
        line += script.count(b"\n", counted, start)
        counted = start
        yield Text(hashlib.sha256(script[done:start]).hexdigest())
        arguments = script[start + 1 + len(name) : end].decode("utf-8", "surrogateescape")
        yield Command(name, arguments.strip(), line, conditional=depth > 0)
        done = end
    yield Text(hashlib.sha256(script[done:]).hexdigest())


def _commands(script: bytes) -> Iterator[tuple[int, str, int]]:
    """Yield each known command: where it starts, its name, where its arguments end."""
    position = statement = 0
    while token := _TOKEN.search(script, position):
        position = token.end()
        kind = token.lastgroup
        if kind == "end":
            if _COPY_FROM_STDIN.search(script, statement, position):
                position = _after_copy_data(script, position)
            statement = position
        elif kind == "command":
            name = token["command"].decode("ascii", "replace")
            if name in (";", "\\"):  # a semicolon that sends nothing; a separator
                continue
            position = _arguments_end(script, position, whole_line=name == "copy")
            if name in _KNOWN:
                yield token.start(), name, position
            if name.startswith("g"):
                statement = position  # \g and its kin send the statement
        else:
            position = _after_quoted(script, token)


def _after_quoted(script: bytes, token: "re.Match[bytes]") -> int:
    """Return where a string, an identifier or a comment ends; the script's end if nowhere."""
    start, kind = token.end(), token.lastgroup
    if kind == "dollar":
        return _after(script, token.group(), start)
    if kind == "line":
        return _after(script, b"\n", start)
    if kind == "identifier":
        return _after(script, b'"', start)
    if kind == "block":
        return _after_block(script, start)
    pattern = _ESCAPED_END if kind == "escaped" else _STRING_END
    return next(
        (end.end() for end in pattern.finditer(script, start) if end.group() == b"'"), len(script)
    )


def _after_block(script: bytes, start: int) -> int:
    depth = 1  # comments nest
    for edge in _BLOCK_EDGE.finditer(script, start):
        depth += 1 if edge.group() == b"/*" else -1
        if not depth:
            return edge.end()
    return len(script)


def _after_copy_data(script: bytes, statement_end: int) -> int:
    """Return where the data of a COPY end, or the statement's end if no data follow."""
    end = _COPY_END.search(script, _after(script, b"\n", statement_end))
    return end.end() if end else statement_end


def _arguments_end(script: bytes, start: int, *, whole_line: bool) -> int:
    r"""Return where a command's arguments end: at the line's end, or at ``\\``."""
    end = script.find(b"\n", start)
    end = len(script) if end < 0 else end
    separator = -1 if whole_line else script.find(b"\\\\", start, end)
    return end if separator < 0 else separator


def _after(script: bytes, what: bytes, start: int) -> int:
    found = script.find(what, start)
    return len(script) if found < 0 else found + len(what)
