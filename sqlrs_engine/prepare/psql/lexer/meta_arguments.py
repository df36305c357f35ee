r"""The arguments of psql's backslash commands: quoting and variables (psql(1), "Meta-Commands")."""

import re
from collections.abc import Callable, Mapping

_WORD = re.compile(r"""(?:'(?:[^'\\]|''|\\.)*'|"[^"]*"|`[^`]*`|[^\s'"`\\])+""")
_PIECE = re.compile(
    r"""
      '(?P<single>(?:[^'\\]|''|\\.)*)'
    | "(?P<double>[^"]*)"
    | (?P<shell>`[^`]*`)
    | :(?P<name>{name}) | :'(?P<literal>{name})' | :"(?P<identifier>{name})"
    | :\{{\?(?P<test>{name})\}}
    | (?P<plain>.)
    """.format(name="[A-Za-z0-9_\x80-\U0010ffff]+"),
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"''|\\(?P<octal>[0-7]{1,3})|\\x(?P<hex>[0-9A-Fa-f]{1,2})|\\(?P<one>.)", re.DOTALL
)
_CONTROL = {"n": "\n", "t": "\t", "b": "\b", "r": "\r", "f": "\f"}


def meta_arguments(arguments: str) -> list[str]:
    """Return the words of a command's arguments, their quotes still on."""
    return _WORD.findall(arguments)


def runs_program(arguments: str) -> bool:
    """Return whether the output of a program (in backticks) is part of the arguments."""
    return any(
        piece["shell"] for word in meta_arguments(arguments) for piece in _PIECE.finditer(word)
    )


def value(
    word: str,
    variables: Mapping[str, str],
    *,
    exists: Callable[[str], bool | None] = lambda name: None,
    semicolon: bool = True,
) -> str | None:
    """Return what a word stands for; None when only psql can know.

    ``variables`` are those whose values are known. An unknown one, or a command in
    backticks, makes the word unknown; ``exists`` tells of variables. Without
    ``semicolon``, those at the end are not part of the word unless they are quoted.
    """
    result = ""
    plain = 0  # how many characters at the end were not quoted
    for piece in _PIECE.finditer(word):
        kind = piece.lastgroup
        plain = plain + 1 if kind == "plain" else 0
        if kind == "single":
            result += _unescape(piece["single"])
        elif kind == "double":
            result += piece.group()  # these quotes are for names of SQL, and stay
        elif kind == "plain":
            result += piece["plain"]
        elif kind == "name" and piece["name"] in variables:
            result += variables[piece["name"]]
        elif kind == "name" and piece["name"].isdecimal() and exists(piece["name"]) is False:
            result += piece.group()  # the time of day, a port: what is no variable stays
        elif kind == "test" and (there := exists(piece["test"])) is not None:
            result += "TRUE" if there else "FALSE"
        else:
            return None
    if semicolon:
        return result
    kept = len(result) - plain
    return result[:kept] + result[kept:].rstrip(";")


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
