"""Arguments that name a connection: psql and pgbench get theirs from the engine.

Read the way the programs read them (getopt_long), so that neither a bundle such as
``-Ath`` nor an abbreviation hides an option, and no option's value is taken for one.
"""

from collections.abc import Sequence
from typing import Literal

RunKind = Literal["psql", "pgbench"]

_CONNECTION_LETTERS = "hpUd"
_CONNECTION_WORDS = ("host", "port", "username", "dbname", "database")

# The options that take a value: it may be the next argument.
_VALUE_LETTERS = {"psql": "cfFLoPRTv", "pgbench": "bcDfFIjLMPRstT"}
_VALUE_WORDS = {
    "psql": (
        "command",
        "field-separator",
        "file",
        "log-file",
        "output",
        "pset",
        "record-separator",
        "set",
        "table-attr",
        "variable",
    ),
    "pgbench": (
        "aggregate-interval",
        "builtin",
        "client",
        "define",
        "file",
        "fillfactor",
        "index-tablespace",
        "init-steps",
        "jobs",
        "latency-limit",
        "log-prefix",
        "max-tries",
        "partition-method",
        "partitions",
        "progress",
        "protocol",
        "random-seed",
        "rate",
        "sampling-rate",
        "scale",
        "tablespace",
        "time",
        "transactions",
    ),
}


def connection_argument(kind: RunKind, arguments: Sequence[str]) -> str | None:
    """Return the first argument that names a connection, None when there is none.

    A database's plain name is not one: it is a database of the instance.
    """
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            return next(filter(_is_connection_string, remaining), None)
        if argument.startswith("--"):
            word, is_complete, _ = argument[2:].partition("=")
            if _abbreviates(word, _CONNECTION_WORDS):
                return argument
            if not is_complete and _abbreviates(word, _VALUE_WORDS[kind]):
                next(remaining, None)
        elif argument.startswith("-") and argument != "-":
            letters = argument[1:]
            end = _end_of_letters(letters, _VALUE_LETTERS[kind])
            if any(letter in _CONNECTION_LETTERS for letter in letters[:end]):
                return argument
            if end == len(letters) and letters[-1] in _VALUE_LETTERS[kind]:
                next(remaining, None)
        elif _is_connection_string(argument):
            return argument
    return None


def _abbreviates(word: str, words: Sequence[str]) -> bool:
    return bool(word) and any(full.startswith(word) for full in words)


def _end_of_letters(letters: str, with_value: str) -> int:
    """Return where the letters of a bundle end and the value of its last one begins."""
    for index, letter in enumerate(letters, start=1):
        if letter in with_value:
            return index
    return len(letters)


def _is_connection_string(argument: str) -> bool:
    """Tell whether libpq takes what stands for a database name for more than that."""
    return "://" in argument or "=" in argument
