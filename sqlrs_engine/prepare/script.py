r"""psql scripts: where they read other files, found by psql's own lexical rules (psql(1)).

Only what a preparation's identity depends on is looked for: ``\i`` and its kin, ``\copy …
from`` and ``\lo_import``, and the commands that change what their arguments mean. Quoted
text, comments and the data of ``COPY … FROM STDIN`` are passed over. It is taken for granted
that ``standard_conforming_strings`` is on, as it has been by default for ever.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .words import copy_source

__all__ = ["Command", "Scan", "Text", "scan"]

INCLUDES = frozenset({"i", "include", "ir", "include_relative"})
READS = INCLUDES | {"copy", "lo_import"}
WRITES = frozenset({"!", "o", "out", "w", "write", "g", "gx", "lo_export"})
CONDITIONS = frozenset({"if", "elif", "else", "endif"})
VARIABLES = frozenset({"set", "unset"})
# What a variable holds after one of these is known to psql alone.
UNKNOWN_VARIABLES = frozenset({"gset", "prompt", "getenv"})
DIRECTORY = frozenset({"cd"})
_KNOWN = READS | WRITES | CONDITIONS | VARIABLES | UNKNOWN_VARIABLES | DIRECTORY
# All that follows these on their line is theirs, backslashes included.
_WHOLE_LINE = frozenset({"!", "copy", "ef", "ev", "h", "help", "sf", "sv"})
# The same, where it is a pipe to a program.
_PIPES = frozenset({"o", "out", "w", "write", "g", "gx"})
_SENDS = frozenset({"g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch"})
_FORGETS = frozenset({"r", "reset"})

# Nothing else matters in a script without one of these, and most scripts have none. An
# included file that reads nothing may yet set a variable that names the next file.
_MATTERS = re.compile(rb"\\(?:!|(?:%s)\b)" % "|".join(sorted(_KNOWN - CONDITIONS - {"!"})).encode())
_TOKEN = re.compile(
    rb"""
      (?P<escaped>\b[eE]')
    | (?P<string>')
    | (?P<identifier>")
    | (?P<dollar>(?<![\w$])\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)
    | (?P<line>--)
    | (?P<block>/\*)
    | (?P<end>;)
    | \\(?P<command>[;:\\]|[^\s\\]+)
    """,
    re.VERBOSE,
)
_STRING_END = re.compile(rb"'(?!')|''")
_ESCAPED_END = re.compile(rb"\\.|''|'", re.DOTALL)
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_COPY_FROM_STDIN = re.compile(rb"(?:\A|;)\s*copy\b[^;]*\bfrom\s+stdin\b", re.IGNORECASE)
_COPY_END = re.compile(rb"^\\\.\r?$", re.MULTILINE)

# Arguments end at the line's end or where the next command begins, unless that is quoted.
_ARGUMENTS = re.compile(
    rb"""(?:'(?:[^'\\\n]|\\.|'')*'|"[^"\n]*"|`[^`\n]*`|[^\\\n'"`]+)*""",
)


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
    if not _MATTERS.search(script):
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
        arguments = _text(script[start + 1 + len(name) : end])
        yield Command(name, arguments, line, conditional=depth > 0)
        done = end
    yield Text(hashlib.sha256(script[done:]).hexdigest())


def _commands(script: bytes) -> Iterator[tuple[int, str, int]]:
    """Yield each known command: where it starts, its name, where its arguments end."""
    position = copies = data = 0
    code: list[bytes] = []  # the statement so far, without comments and quoted text
    while token := _TOKEN.search(script, position):
        if copies and token.start() >= data:
            position, copies, code = _after_copy_data(script, data, copies), 0, []
            continue
        code.append(script[position : token.start()])
        position = token.end()
        kind = token.lastgroup
        name = token["command"].decode("ascii", "replace") if kind == "command" else ""
        inline = False  # whether the lines that follow are data
        if kind == "end" or name in _SENDS:
            inline = _COPY_FROM_STDIN.search(b"".join(code)) is not None
            code = []
        if kind == "command":
            if name in (";", ":", "\\"):  # sent with the statement; a separator
                code.append(name.encode())
                continue
            position = _arguments_end(script, position, name)
            if name == "copy":
                source = copy_source(_text(script[token.end() : position]))
                inline = source is not None and source.file is None
            if name in _FORGETS:
                code = []
            if name in _KNOWN:
                yield token.start(), name, position
        elif kind != "end":
            code.append(b" " if kind in ("line", "block") else b" _ ")
            position = _after_quoted(script, token)
        if inline:
            copies, data = copies + 1, _after(script, b"\n", position)


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


def _after_copy_data(script: bytes, start: int, copies: int) -> int:
    """Return where the data of so many COPYs end; what is not ended may be no data."""
    for _ in range(copies):
        end = _COPY_END.search(script, start)
        start = end.end() if end else start
    return start


def _arguments_end(script: bytes, start: int, name: str) -> int:
    """Return where a command's arguments end."""
    end = script.find(b"\n", start)
    end = len(script) if end < 0 else end
    pipe = name in _PIPES and script[start:end].lstrip().startswith(b"|")
    if pipe or name in _WHOLE_LINE:
        return end
    arguments = _ARGUMENTS.match(script, start, end)
    stop = arguments.end() if arguments else start
    return stop if script[stop : stop + 1] == b"\\" else end


def _after(script: bytes, what: bytes, start: int) -> int:
    found = script.find(what, start)
    return len(script) if found < 0 else found + len(what)


def _text(script: bytes) -> str:
    """Decode a piece of a script so that nothing of it is lost."""
    return script.decode("utf-8", "surrogateescape").strip()
