"""The tokens at which the scanner stops, and where strings, names and comments end (psqlscan.l)."""

import re

Bytes = bytes | bytearray

_TOKENS = rb"""
      (?P<escaped>[eE]')
    | (?P<string>')
    | (?P<identifier>")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)
    | (?P<line>--)
    | (?P<block>/\*)
    | (?P<end>;)
    | \\(?P<command>[;:]|\\|[^\s\\]+)?
    """
TOKEN = re.compile(_TOKENS, re.VERBOSE)
# Most of the time, line ends and variable names are like any other text.
EVERY_TOKEN = re.compile(
    _TOKENS + rb"| (?P<newline>\n) | ::|:(?P<variable>[\w\x80-\xff]+)", re.VERBOSE
)
PARENTHESIS = re.compile(rb"[()]")

_PAIR = re.compile(rb"\([^()]*\)")
# The rest of a string, including its last quote.
_PLAIN = re.compile(rb"[^']*+(?:''[^']*+)*+'")
_ESCAPED = re.compile(rb"[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'", re.DOTALL)
# A string continues after white space with a line end; psql takes only a CR for one there.
_CONTINUED = re.compile(
    rb"(?:[ \t\f\v]|--[^\n\r]*)*\r(?:[ \t\f\v\r]|--[^\n\r]*\r)*'",
)
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_LINE_END = re.compile(rb"[\n\r]")
_NAME = rb"[\w$\x80-\xff]"
_NAME_CHARACTERS = re.compile(_NAME + rb"*")
_ENDS_IN_NAME = re.compile(rb"[A-Za-z_\x80-\xff]" + _NAME + rb"*\Z")
_ENDS_IN_NAME_CHARACTER = re.compile(_NAME + rb"\Z")
# What stands before the quote of a string that never has escapes.
_ENDS_IN_PREFIX = re.compile(rb"(?<!" + _NAME + rb")(?:[uU]&|[bBxX])\Z")
_SYNTAX = re.compile(rb"""['"\\;$()]|--|/\*|:[A-Za-z_\x80-\xff]""")


def has_escapes(
    kind: str | None, before: bytes, *, standard_conforming_strings: bool | None
) -> bool | None:
    """Return whether backslashes are escapes in a string; None when only psql knows.

    ``kind`` is that of the token, ``before`` the code in front of it.
    """
    if kind == "escaped" and not _ENDS_IN_NAME_CHARACTER.search(before):
        return True
    if standard_conforming_strings or _ENDS_IN_PREFIX.search(before):
        return False
    return None if standard_conforming_strings is None else True


def string_end(text: Bytes, start: int, *, escapes: bool) -> int:
    """Return where a string ends that began before ``start``; the end of the text if nowhere."""
    end = _closing_quote(text, start, escapes=escapes)
    return len(text) if end is None else end


def line_end(text: Bytes, start: int) -> int:
    """Return where a ``--`` comment ends."""
    found = _LINE_END.search(text, start)
    return found.start() if found else len(text)


def block_end(text: Bytes, start: int) -> int:
    """Return where a ``/*`` comment ends that began before ``start``; comments nest."""
    depth = 1
    for edge in _BLOCK_EDGE.finditer(text, start):
        depth += 1 if edge.group() == b"/*" else -1
        if not depth:
            return edge.end()
    return len(text)


def after(text: Bytes, delimiter: bytes, start: int) -> int:
    """Return the position after the next ``delimiter``; the end of the text if there is none."""
    found = text.find(delimiter, start)
    return len(text) if found < 0 else found + len(delimiter)


def ends_in_name(code: bytes) -> bool:
    """Return whether code ends in a name, of which a following dollar would be part."""
    return _ENDS_IN_NAME.search(code) is not None


def name_end(text: Bytes, start: int) -> int:
    """Return where the name ends that continues at ``start``."""
    found = _NAME_CHARACTERS.match(text, start)
    return found.end() if found else start


def contains_syntax(value: bytes) -> bool:
    """Return whether a variable's value is more than words where a statement uses it."""
    return _SYNTAX.search(value) is not None


def is_complete(value: bytes, *, standard_conforming_strings: bool | None) -> bool:
    """Return whether a value leaves no quote open and holds no statement's end and no command.

    Of parentheses, only pairs without others inside count as closed.
    """
    position, code = 0, b""
    while token := EVERY_TOKEN.search(value, position):
        code += value[position : token.start()]
        position, kind = token.end(), token.lastgroup
        if kind in ("string", "escaped"):
            unsure = standard_conforming_strings is None or kind == "escaped"
            escapes = (True, False) if unsure else (not standard_conforming_strings,)
            ends = {_closing_quote(value, position, escapes=each) for each in escapes}
            end = ends.pop()
            if end is None or ends:
                return False
            position = end
        elif kind == "identifier":
            position = value.find(b'"', position) + 1
            if not position:
                return False
        elif token.group() != b"::":
            return False
    code += value[position:]
    return not PARENTHESIS.search(_PAIR.sub(b"", code))


def _closing_quote(text: Bytes, start: int, *, escapes: bool) -> int | None:
    """Return the position after a string's last quote, None if it is never closed."""
    while True:
        match = (_ESCAPED if escapes else _PLAIN).match(text, start)
        if match is None:
            return None
        continued = _CONTINUED.match(text, match.end()) if escapes else None
        if continued is None:
            return match.end()
        start = continued.end()
