"""Arguments that name a connection: the engine refuses them, because it connects programs itself.

They are read as the programs read them (getopt_long), so that neither a bundle such as
``-Ath`` nor an abbreviation hides an option, and no option's value is taken for one.
"""

from collections.abc import Iterator, Sequence

from .program_options import HOST_WORDS, PROGRAMS, ProgramOptions

# These get their database from the engine; the others may name one of the instance's.
_NO_DATABASE_OPTION = ("psql", "pgbench")


def connection_argument(program: str, arguments: Sequence[str]) -> str | None:
    """Return the first argument that names a connection, None when there is none.

    The plain name of a database refers to one of the instance's, so it does not count, except
    in an option (``-d``) of psql and pgbench, which get theirs from the engine.
    """
    known = PROGRAMS.get(program)
    if known is None:
        return next(filter(_may_be_connection, arguments), None)
    strict = program in _NO_DATABASE_OPTION
    for argument, value in _options(known, arguments):
        if argument is None:
            if known.positional and _is_connection_string(value):
                return value
        elif value is None or strict or _is_connection_string(value):
            return argument
    return None


def _options(
    program: ProgramOptions, arguments: Sequence[str]
) -> Iterator[tuple[str | None, str | None]]:
    """Yield the arguments that may name a connection.

    ``(argument, None)`` is a host, port or user, ``(argument, value)`` a database, and
    ``(None, word)`` a bare word.
    """
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            yield from ((None, word) for word in remaining)
        elif argument.startswith("--"):
            yield from _long(program, argument, remaining)
        elif argument.startswith("-") and argument != "-":
            yield from _short(program, argument, remaining)
        else:
            yield None, argument


def _long(
    program: ProgramOptions, argument: str, remaining: Iterator[str]
) -> Iterator[tuple[str | None, str | None]]:
    word, is_complete, value = argument[2:].partition("=")
    if word in program.flags.split():
        return
    if word not in program.words.split():
        # An abbreviation that may be either is refused by the program; so it is here.
        if _abbreviates(word, HOST_WORDS):
            yield argument, None
            return
        if _abbreviates(word, program.database_words):
            yield argument, value if is_complete else next(remaining, "")
            return
    if not is_complete and _abbreviates(word, program.words):
        next(remaining, None)


def _short(
    program: ProgramOptions, argument: str, remaining: Iterator[str]
) -> Iterator[tuple[str | None, str | None]]:
    for position, letter in enumerate(argument[1:], start=2):
        if letter in program.host_letters:
            yield argument, None
            return
        if letter in program.database_letters:
            yield argument, argument[position:] or next(remaining, "")
            return
        if letter in program.letters:
            if position == len(argument):
                next(remaining, None)
            return


def _abbreviates(word: str, words: str) -> bool:
    return bool(word) and any(full.startswith(word) for full in words.split())


def _is_connection_string(argument: str | None) -> bool:
    """Return whether libpq reads a database's name as a connection string."""
    return argument is not None and ("://" in argument or "=" in argument)


def _may_be_connection(argument: str) -> bool:
    """Return whether an argument of a program whose options are unknown looks like one."""
    if argument.startswith("--"):
        word, _, value = argument[2:].partition("=")
        return _abbreviates(word, HOST_WORDS) or "://" in value or "host=" in value
    if argument.startswith("-"):
        return argument[1:2] in ("h", "p", "U")
    return "://" in argument or "host=" in argument
