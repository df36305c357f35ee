"""The options of psql's command line, parsed as psql does (psql(1), getopt_long(3)).

Only a parser that knows every option, with its value attached, bundled or abbreviated, can keep a
request from reaching another server.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument

STDIN = "-"
"""The file of ``-f`` that is standard input."""

_WITH_VALUE = "cdfFhLopPRTUv"
_LONG = {
    "echo-all": "a",
    "no-align": "A",
    "echo-errors": "b",
    "command": "c",
    "dbname": "d",
    "echo-queries": "e",
    "echo-hidden": "E",
    "file": "f",
    "field-separator": "F",
    "host": "h",
    "html": "H",
    "list": "l",
    "log-file": "L",
    "no-readline": "n",
    "output": "o",
    "port": "p",
    "pset": "P",
    "quiet": "q",
    "record-separator": "R",
    "single-step": "s",
    "single-line": "S",
    "tuples-only": "t",
    "table-attr": "T",
    "username": "U",
    "set": "v",
    "variable": "v",
    "version": "V",
    "no-password": "w",
    "password": "W",
    "expanded": "x",
    "no-psqlrc": "X",
    "field-separator-zero": "z",
    "record-separator-zero": "0",
    "single-transaction": "1",
    "help": "?",
    "csv": "csv",
}
_LETTERS = frozenset(_LONG.values()) - {"csv"}
_CONNECTION = "hpUd"
_NOTHING_RUNS = "?Vl"
_INTERACTIVE = "sW"


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its letter (or ``csv``, which has none) and its value."""

    letter: str
    value: str | None

    def arguments(self) -> list[str]:
        """Return the option as psql arguments, spelt so that any value survives."""
        return spelled(self.letter, self.value)

    def below(self, directory: Path) -> "Option":
        """Return an option with the absolute path of its file, for an engine that runs elsewhere.

        Values of other options, and ``-f -``, stay as they are.
        """
        if self.letter != "f" or self.value in (None, "", STDIN):
            return self
        return replace(self, value=str(directory / (self.value or "")))


def spelled(letter: str, value: str | None) -> list[str]:
    """Return an option as psql arguments; its value is a separate argument."""
    flag = f"-{letter}" if len(letter) == 1 else f"--{letter}"
    return [flag] if value is None else [flag, value]


def parse(args: Sequence[str]) -> Iterator[Option]:
    """Yield the options of psql's arguments; empty arguments are skipped.

    Raises InvalidArgument for connection options and positional arguments, for options that keep
    psql from running anything, that need a terminal or that psql does not have, and for a missing
    or superfluous value.
    """
    if any("\0" in argument for argument in args):
        raise InvalidArgument("arguments must not contain a NUL character")
    rest = iter(args)
    for argument in rest:
        if argument == "--":
            following = next((a for a in rest if a), None)
            if following is not None:
                raise InvalidArgument("positional arguments are not allowed", following)
        elif argument.startswith("--"):
            yield _long(argument, rest)
        elif argument.startswith("-") and argument != "-":
            yield from _short(argument, rest)
        elif argument:
            raise InvalidArgument("positional database arguments are not allowed", argument)


def _long(argument: str, rest: Iterator[str]) -> Option:
    name, separator, value = argument[2:].partition("=")
    if name == "database":  # not an option of psql, but everyone would take it for one
        raise InvalidArgument("connection flags are not allowed", argument)
    letter = _letter(name, argument)
    _refuse(letter, argument)
    if letter not in _WITH_VALUE:
        if separator:
            raise InvalidArgument("the flag takes no value: remove the value", argument)
        return Option(letter, None)
    if not separator:
        return Option(letter, _next(rest, letter, argument))
    if not value and letter in "fcv":
        raise _missing(letter, argument)
    return Option(letter, value)


def _letter(name: str, argument: str) -> str:
    """Return the letter of a long option, which may be abbreviated if that is unambiguous."""
    if name in _LONG:
        return _LONG[name]
    matches = {letter for full, letter in _LONG.items() if name and full.startswith(name)}
    if len(matches) == 1:
        return matches.pop()
    raise InvalidArgument(
        "ambiguous flag: write it in full" if matches else "psql has no such flag: see psql --help",
        argument,
    )


def _short(argument: str, rest: Iterator[str]) -> Iterator[Option]:
    for position, letter in enumerate(argument[1:], start=1):
        if letter not in _LETTERS:
            raise InvalidArgument("psql has no such flag: see psql --help", argument)
        _refuse(letter, argument)
        if letter in _WITH_VALUE:
            attached = argument[position + 1 :]
            yield Option(letter, attached or _next(rest, letter, f"-{letter}"))
            return
        yield Option(letter, None)


def _next(rest: Iterator[str], letter: str, flag: str) -> str:
    value = next(rest, None)
    if value is None:
        raise _missing(letter, flag)
    return value


def _missing(letter: str, flag: str) -> InvalidArgument:
    kind = {"f": "file flag", "c": "command flag", "v": "variable flag"}.get(letter, "flag")
    return InvalidArgument(f"missing value for {kind}", flag.partition("=")[0])


def _refuse(letter: str, argument: str) -> None:
    if letter in _CONNECTION:
        raise InvalidArgument("connection flags are not allowed", argument)
    if letter in _NOTHING_RUNS:
        raise InvalidArgument(
            "flags that keep psql from running are not allowed: remove them", argument
        )
    if letter in _INTERACTIVE:
        raise InvalidArgument("interactive flags are not allowed: remove them", argument)
