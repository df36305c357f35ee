"""The options of pg_restore that a request may have (pg_restore(1)).

They are parsed as pg_restore does (getopt_long), so that no connection hides in a bundle or an
abbreviation.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlrs_engine.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Allowed:
    """An option that may be given: its letter, if any, and the first major version that has it."""

    takes_value: bool = False
    letter: str | None = None
    since: int = 0


ALLOWED: Mapping[str, Allowed] = {
    "clean": Allowed(letter="c"),
    "create": Allowed(letter="C"),
    "data-only": Allowed(letter="a"),
    "disable-triggers": Allowed(),
    "enable-row-security": Allowed(),
    "exclude-schema": Allowed(takes_value=True, letter="N"),
    "function": Allowed(takes_value=True, letter="P"),
    "if-exists": Allowed(),
    "index": Allowed(takes_value=True, letter="I"),
    "no-comments": Allowed(),
    "no-data": Allowed(since=18),
    "no-owner": Allowed(letter="O"),
    "no-policies": Allowed(since=18),
    "no-privileges": Allowed(letter="x"),
    "no-publications": Allowed(),
    "no-schema": Allowed(since=18),
    "no-security-labels": Allowed(),
    "no-statistics": Allowed(since=18),
    "no-subscriptions": Allowed(),
    "no-table-access-method": Allowed(since=15),
    "no-tablespaces": Allowed(),
    "role": Allowed(takes_value=True),
    "schema": Allowed(takes_value=True, letter="n"),
    "schema-only": Allowed(letter="s"),
    "section": Allowed(takes_value=True),
    "single-transaction": Allowed(letter="1"),
    "statistics": Allowed(since=18),
    "statistics-only": Allowed(since=18),
    "strict-names": Allowed(),
    "superuser": Allowed(takes_value=True, letter="S"),
    "table": Allowed(takes_value=True, letter="t"),
    "transaction-size": Allowed(takes_value=True, since=17),
    "trigger": Allowed(takes_value=True, letter="T"),
    "use-set-session-authorization": Allowed(),
}

SINGLE_TRANSACTION = "single-transaction"
_SECTIONS = ("pre-data", "data", "post-data")
_SYNONYMS = {"no-acl": "no-privileges"}

# Accepted, although they change nothing: the engine does this in any case.
_IMPLIED: Mapping[str, Allowed] = {
    "exit-on-error": Allowed(letter="e"),
    "jobs": Allowed(takes_value=True, letter="j"),
    "verbose": Allowed(letter="v"),
}

_OUTPUT = "the engine restores into its own cluster: remove the option"
_LISTS = "select objects with --schema, --table and --section, whose values count in the state's id"
# Refused, with a reason; all but the flags take a value.
_REFUSED: Mapping[str, tuple[str | None, str]] = {
    "dbname": ("d", "connection flags are not allowed"),
    "host": ("h", "connection flags are not allowed"),
    "port": ("p", "connection flags are not allowed"),
    "username": ("U", "connection flags are not allowed"),
    "no-password": ("w", "connection flags are not allowed"),
    "password": ("W", "connection flags are not allowed"),
    "file": ("f", _OUTPUT),
    "format": ("F", "the engine finds out the format of a dump: remove the option"),
    "list": ("l", _OUTPUT),
    "help": ("?", _OUTPUT),
    "version": ("V", _OUTPUT),
    "use-list": ("L", _LISTS),
    "filter": (None, _LISTS),
    "no-data-for-failed-tables": (None, "a restore stops at the first error: remove the option"),
    "restrict-key": (None, _OUTPUT),
}


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """The options of a restore: names without dashes, each with its value."""

    given: tuple[tuple[str, str | None], ...] = ()

    @classmethod
    def parse(cls, args: Sequence[str]) -> "RestoreOptions":
        """Read the arguments of pg_restore. Raises InvalidArgument."""
        if any("\0" in argument for argument in args):
            raise InvalidArgument("restore_args must not contain a NUL character")
        options = cls(tuple(each for each in _parse(args) if each[0] not in _IMPLIED))
        options.check()
        return options

    def check(self) -> None:
        """Raise InvalidArgument when pg_restore would refuse the combination."""
        for name, value in self.given:
            if name == "section" and value not in _SECTIONS:
                raise InvalidArgument(
                    f"unknown section: use one of {', '.join(_SECTIONS)}", f"--section={value}"
                )
        if self.has("if-exists") and not self.has("clean"):
            raise InvalidArgument("--if-exists needs --clean: add it")
        if self.has("create") and self.has(SINGLE_TRANSACTION):
            raise InvalidArgument("--create and --single-transaction exclude each other")
        if self.has("data-only") and self.has("schema-only"):
            raise InvalidArgument("--data-only and --schema-only exclude each other")

    def check_plain(self) -> None:
        """Raise InvalidArgument for options that need an archive."""
        name = next((name for name, _ in self.given if name != SINGLE_TRANSACTION), None)
        if name is not None:
            raise InvalidArgument(
                "a plain dump is restored as it is: leave the option out, or give it to pg_dump "
                "when you make the dump; archives (pg_dump -Fc) can be restored with it",
                f"--{name}",
            )

    def check_version(self, major: int) -> None:
        """Raise InvalidArgument for options that pg_restore of a major version lacks."""
        for name, _ in self.given:
            since = ALLOWED[name].since
            if since > major:
                raise InvalidArgument(
                    f"--{name} needs pg_restore {since}: leave it out, or use an image of "
                    f"PostgreSQL {since}",
                    f"this is pg_restore {major}",
                )

    def has(self, name: str) -> bool:
        """Return whether an option is given."""
        return any(given == name for given, _ in self.given)

    def arguments(self) -> list[str]:
        """Return the options as arguments, spelt so that any value survives."""
        return [f"--{name}" if value is None else f"--{name}={value}" for name, value in self.given]

    def canonical(self) -> list[list[str | None]]:
        """Return the options without order and repetition, which make no difference."""
        return [[f"--{name}", value] for name, value in sorted({*self.given}, key=str)]


def _parse(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    rest = iter(args)
    for argument in rest:
        if argument == "--":
            if (word := next(filter(None, rest), None)) is not None:
                raise _positional(word)
        elif argument.startswith("--"):
            yield _long(argument, rest)
        elif argument.startswith("-") and argument != "-":
            yield from _short(argument, rest)
        elif argument:
            raise _positional(argument)


def _long(argument: str, rest: Iterator[str]) -> tuple[str, str | None]:
    word, has_value, value = argument[2:].partition("=")
    name = _full(word, argument)
    if name in _REFUSED:
        raise InvalidArgument(_REFUSED[name][1], argument)
    option = _option(name)
    if not option.takes_value:
        if has_value:
            raise InvalidArgument("the flag takes no value: remove the value", argument)
        return name, None
    return name, value if has_value else _next(rest, argument)


def _full(word: str, argument: str) -> str:
    """Return the name of an option, which may be abbreviated if that is unambiguous."""
    names = (*ALLOWED, *_IMPLIED, *_REFUSED, *_SYNONYMS)
    found = [word] if word in names else [name for name in names if word and name.startswith(word)]
    found = [*dict.fromkeys(_SYNONYMS.get(name, name) for name in found)]
    if len(found) == 1:
        return found[0]
    raise InvalidArgument(
        "ambiguous flag: write it in full"
        if found
        else "pg_restore has no such flag, or it makes no sense here: see docs/dumps.md",
        argument,
    )


def _short(argument: str, rest: Iterator[str]) -> Iterator[tuple[str, str | None]]:
    for position, letter in enumerate(argument[1:], start=2):
        for known, reason in _REFUSED.values():
            if letter == known:
                raise InvalidArgument(reason, argument)
        name = _of_letter(letter, argument)
        if _option(name).takes_value:
            yield name, argument[position:] or _next(rest, f"-{letter}")
            return
        yield name, None


def _of_letter(letter: str, argument: str) -> str:
    for name, option in (*ALLOWED.items(), *_IMPLIED.items()):
        if option.letter == letter:
            return name
    raise InvalidArgument(
        "pg_restore has no such flag, or it makes no sense here: see docs/dumps.md", argument
    )


def _option(name: str) -> Allowed:
    return ALLOWED[name] if name in ALLOWED else _IMPLIED[name]


def _next(rest: Iterator[str], flag: str) -> str:
    value = next(rest, None)
    if value is None:
        raise InvalidArgument("missing value for flag", flag)
    return value


def _positional(argument: str) -> InvalidArgument:
    return InvalidArgument(
        "restore_args are options of pg_restore: name the dump in path", argument
    )
