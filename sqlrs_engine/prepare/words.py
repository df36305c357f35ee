r"""The arguments of psql's backslash commands: quoting and variables (psql(1), "Meta-Commands")."""

import re
from collections.abc import Mapping

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
    (?:binary\s+)?
    (?:"[^"]*"|[^\s("'])+                       # the table, not a query
    \s*(?:\((?:"[^"]*"|[^)"])*\))?\s*           # its columns
    \bfrom\s+
    (?P<file>'(?:[^'\\]|''|\\.)*'|\S+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NO_FILE = ("stdin", "pstdin", "program")


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
        elif kind in ("double", "plain"):
            result += piece[kind]
        elif kind == "name" and piece["name"] in variables:
            result += variables[piece["name"]]
        else:
            return None
    return result


def copy_source(arguments: str) -> str | None:
    r"""Return the file that a ``\copy`` reads, None when it reads none.

    psql expands no variables here.
    """
    match = _COPY_FROM.match(arguments)
    if match is None:
        return None
    file = match["file"]
    if file.startswith("'"):
        return _unescape(file[1:-1])
    return None if file.lower().rstrip(";") in _NO_FILE else file


def _unescape(text: str) -> str:
    def replace(match: "re.Match[str]") -> str:
        if match["octal"]:
            return chr(int(match["octal"], 8) & 0xFF)
        if match["hex"]:
            return chr(int(match["hex"], 16))
        if match["one"]:
            return _CONTROL.get(match["one"], match["one"])
        return "'"

    return _ESCAPE.sub(replace, text)
