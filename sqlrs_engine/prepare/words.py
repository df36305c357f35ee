r"""The arguments of psql's backslash commands: quoting and variables (psql(1), "Meta-Commands")."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_WORD = re.compile(r"""(?:'(?:[^'\\]|''|\\.)*'|"[^"]*"|`[^`]*`|[^\s'"`\\])+""")
_PIECE = re.compile(
    r"""
      '(?P<single>(?:[^'\\]|''|\\.)*)'
    | "(?P<double>[^"]*)"
    | (?P<shell>`[^`]*`)
    | :(?P<name>\w+) | :'(?P<literal>\w+)' | :"(?P<identifier>\w+)" | (?P<test>:\{\?\w+\})
    | (?P<plain>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"''|\\(?P<octal>[0-7]{1,3})|\\x(?P<hex>[0-9A-Fa-f]{1,2})|\\(?P<one>.)", re.DOTALL
)
_CONTROL = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f"}

_COPY_FROM = re.compile(
    r"""
    \s*(?:binary\s++)?
    (?:"(?:[^"]|"")*"|[^\s.,()"]++)                    # the table, not a query
    (?:\s*\.\s*(?:"(?:[^"]|"")*"|[^\s.,()"]++))?      # if that was its schema
    \s*(?:\((?:"[^"]*"|[^)"])*\)\s*)?                 # its columns
    from\s+
    (?P<file>'(?:[^']|'')*'|[^\s;']+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NO_FILE = ("pstdin", "program", "stdout", "pstdout")


@dataclass(frozen=True, slots=True)
class CopySource:
    r"""What a ``\copy`` reads: a file, or the lines after it (None); and its other words."""

    file: str | None
    rest: tuple[str, str]


def words(arguments: str) -> list[str]:
    """Return the words of a command's arguments, their quotes still on."""
    return _WORD.findall(arguments)


def value(word: str, variables: Mapping[str, str]) -> str | None:
    """Return what a word stands for; None when only psql can know.

    ``variables`` are those whose values are known. An unknown one, or a command in
    backticks, makes the word unknown.
    """
    result = ""
    for piece in _PIECE.finditer(word):
        kind = piece.lastgroup
        if kind == "single":
            result += _unescape(piece["single"])
        elif kind == "double":
            result += piece.group()  # these quotes are for names of SQL, and stay
        elif kind == "plain":
            result += piece["plain"]
        elif kind == "name" and piece["name"] in variables:
            result += variables[piece["name"]]
        else:
            return None
    return result


def copy_source(arguments: str) -> CopySource | None:
    r"""Return what a ``\copy`` reads, None when psql would read no file and no lines.

    psql expands no variables here, and knows no escapes.
    """
    match = _COPY_FROM.match(arguments)
    if match is None:
        return None
    file: str | None = match["file"]
    rest = arguments[: match.start("file")], arguments[match.end("file") :]
    assert file is not None  # noqa: S101 - the group is not optional
    if file.startswith("'"):
        return CopySource(file[1:-1].replace("''", "'"), rest)
    if file.lower() in _NO_FILE:
        return None
    return CopySource(None if file.lower() == "stdin" else file, rest)


def printable(text: str) -> str:
    """Return text, such as a file's name, without what is not UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _unescape(text: str) -> str:
    def replace(match: "re.Match[str]") -> str:
        if match["octal"]:
            return _byte(int(match["octal"], 8) & 0xFF)
        if match["hex"]:
            return _byte(int(match["hex"], 16))
        if match["one"]:
            return _CONTROL.get(match["one"], match["one"])
        return "'"

    return _ESCAPE.sub(replace, text)


def _byte(number: int) -> str:
    """Return a byte as it is in the names of files: UTF-8 may be made of several."""
    return bytes([number]).decode("utf-8", "surrogateescape")
