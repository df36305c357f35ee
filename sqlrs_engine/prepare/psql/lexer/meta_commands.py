r"""psql's backslash commands: their names and their arguments (psql(1), "Meta-Commands")."""

import re
from collections.abc import Callable, Mapping

from .tokens import Bytes

INCLUDES = frozenset({"i", "include", "ir", "include_relative"})
RELATIVE_INCLUDES = frozenset({"ir", "include_relative"})
READS_FILE = INCLUDES | {"copy", "lo_import"}
# These write to a file or pipe that an argument names.
OUTPUTS = frozenset({"o", "out", "w", "write", "g", "gx"})
WRITES_FILE = OUTPUTS | {"!", "lo_export", "s"}
CONDITIONALS = frozenset({"if", "elif", "else", "endif"})
CONNECTS = frozenset({"c", "connect"})
QUITS = frozenset({"q", "quit"})
# The query buffer passes through an editor, and the result is read again.
EDITS = frozenset({"e", "edit", "ef", "ev"})
# After gset, prompt and getenv, only psql knows what a variable holds.
CHANGES_SESSION = frozenset(
    {"set", "unset", "gset", "prompt", "getenv", "cd", "setenv", "encoding"}
)
# Each of these changes what psql reads.
KNOWN = READS_FILE | WRITES_FILE | CONDITIONALS | CONNECTS | QUITS | EDITS | CHANGES_SESSION

SENDS_BUFFER = frozenset(
    {"g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch", "parse", "sendpipeline"}
)
CLEARS_BUFFER = frozenset({"r", "reset"})

# These take the rest of their line, backslashes included.
_WHOLE_LINE = frozenset({"!", "copy", "ef", "ev", "h", "help", "sf", "sf+", "sv", "sv+"})
_ARGUMENT = re.compile(
    rb"[ \t\r\f\v]*("
    rb"""(?:'(?:[^'\\\n]|''|\\[^\n])*'|"[^"\n]*"|`[^`\n]*`|[^\s'"`\\])+"""
    rb")?"
)
_WORD = re.compile(r"""(?:'(?:[^'\\]|''|\\.)*'|"[^"]*"|`[^`]*`|[^\s'"`\\])+""")
_PIECE = re.compile(
    r"""
      '(?P<single>(?:[^'\\]|''|\\.)*)'
    | "(?P<double>[^"]*)"
    | (?P<program>`[^`]*`)
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


def arguments_end(text: Bytes, start: int, name: str) -> int:
    """Return where the arguments that begin at ``start`` end.

    They end with the line, or at an unquoted backslash, where the next command begins.
    """
    end = text.find(b"\n", start)
    end = len(text) if end < 0 else end
    if name in _WHOLE_LINE:
        return end
    first, in_options = True, False
    position = start
    while match := _ARGUMENT.match(text, position, end):
        argument = match[1]
        at = match.end() - len(argument or b"")
        if name in OUTPUTS and first and text[at : at + 1] == b"|":
            return end
        position = match.end()
        if argument is None:
            break
        # \g takes options in parentheses before the file name.
        if name in ("g", "gx") and (in_options or (first and argument.startswith(b"("))):
            in_options = not argument.endswith(b")")
            first = not in_options
        else:
            first = False
    return position if text[position : position + 1] == b"\\" else end


def split_arguments(arguments: str) -> list[str]:
    """Return the arguments of a command, still quoted."""
    return _WORD.findall(arguments)


def runs_program(arguments: str) -> bool:
    """Return whether the output of a program (in backticks) is part of the arguments."""
    return any(
        piece["program"]
        for argument in split_arguments(arguments)
        for piece in _PIECE.finditer(argument)
    )


def expand(
    argument: str,
    variables: Mapping[str, str],
    *,
    exists: Callable[[str], bool | None] = lambda name: None,
    semicolon: bool = True,
) -> str | None:
    """Return what an argument stands for; None if only psql can know.

    ``variables`` are those whose values are known. An unknown one, or a program in backticks,
    makes the result unknown. ``exists`` returns whether there is a variable. Without
    ``semicolon``, unquoted semicolons at the end are not part of the argument.
    """
    result = ""
    unquoted = 0  # how many characters at the end
    for piece in _PIECE.finditer(argument):
        kind = piece.lastgroup
        unquoted = unquoted + 1 if kind == "plain" else 0
        if kind == "single":
            result += _unescape(piece["single"])
        elif kind == "double":
            result += piece.group()  # these quotes are for SQL names, and stay
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
    kept = len(result) - unquoted
    return result[:kept] + result[kept:].rstrip(";")


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
    """Return a byte as file names have it: a UTF-8 character may consist of several."""
    return bytes([number]).decode("utf-8", "surrogateescape")
