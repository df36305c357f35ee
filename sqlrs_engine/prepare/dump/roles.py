"""The roles that dumps mention, and their creation.

Statements are those that pg_dump and pg_dumpall write: each is on one line.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.postgres.settings import SUPERUSER

from .restore_output import FAILED

if TYPE_CHECKING:
    from sqlrs_engine.postgres.superuser import Connection

_TOKEN = re.compile(r""""(?:[^"]|"")*"|'(?:[^']|'')*'|[^\W\d][\w$]*|\S""")
# These are no roles, or roles of every cluster.
_NOBODY = frozenset({"public", "current_user", "current_role", "session_user", "default", "none"})
_PREDEFINED = "pg_"
_KINDS = ("ROLE", "USER", "GROUP")
# In archives, the definitions that name roles other than the owner.
DEFINITIONS = frozenset({"ACL", "DEFAULT ACL", "POLICY", "SCHEMA", "USER MAPPING"})


def mentioned(statement: str) -> Iterator[str]:
    """Yield the roles that a statement needs, but for those that every cluster has."""
    return (name for name in _roles(_TOKEN.findall(statement)) if is_ordinary(name))


def is_ordinary(name: str) -> bool:
    """Return whether a role is one that a user can create."""
    return bool(name) and name not in _NOBODY and not name.startswith(_PREDEFINED)


def subject(statement: str) -> str | None:
    """Return the role that a CREATE, ALTER or DROP ROLE, USER or GROUP is about."""
    words = _TOKEN.findall(statement)
    if len(words) < 3 or words[1].upper() not in _KINDS:
        return None
    if words[1].upper() == "USER" and words[2].upper() == "MAPPING":
        return None
    exists = [each.upper() for each in words[2:4]] == ["IF", "EXISTS"]
    return _name(words[4]) if exists and len(words) > 4 else _name(words[2])


def _roles(words: list[str]) -> Iterator[str]:
    upper = [each.upper() for each in words]
    match upper[:2]:
        case ["GRANT" | "REVOKE", _]:
            yield from _of_privileges(words, upper)
        case ["ALTER", "DEFAULT"]:
            yield from _after(words, upper, ("FOR", "ROLE"))
            yield from _after(words, upper, ("FOR", "USER"))
            for verb in ("GRANT", "REVOKE"):
                if verb in upper:
                    at = upper.index(verb)
                    yield from _of_privileges(words[at:], upper[at:])
        case ["CREATE", "POLICY"]:
            if "TO" in upper[_from(upper, "ON") :]:
                yield from _list(words, upper.index("TO", _from(upper, "ON")) + 1)
        case ["CREATE", "USER"] if upper[2:4] == ["MAPPING", "FOR"]:
            yield from _list(words, 4)
        case ["CREATE", "SCHEMA"]:
            yield from _after(words, upper, ("AUTHORIZATION",))
        case ["CREATE", "DATABASE"]:
            yield from _after(words, upper, ("OWNER", "="))
        case ["SET", "SESSION"]:
            yield from _after(words, upper, ("AUTHORIZATION",))
        case ["SET", "ROLE"]:
            yield from _list(words, 2)
        case ["ALTER", "ROLE" | "USER"]:
            yield from _list(words, 2)
        case ["ALTER", _]:
            yield from _after(words, upper, ("OWNER", "TO"))


def _of_privileges(words: list[str], upper: list[str]) -> Iterator[str]:
    """Yield the roles of a GRANT or REVOKE, of privileges or of a membership."""
    preposition = "TO" if upper[0] == "GRANT" else "FROM"
    if preposition not in upper:
        return
    at = len(upper) - 1 - upper[::-1].index(preposition)
    if "ON" not in upper[:at]:
        skipped = 4 if upper[2:4] == ["OPTION", "FOR"] else 1
        yield from _list(words, skipped)
    start = at + 2 if upper[at + 1 : at + 2] == ["GROUP"] else at + 1
    yield from _list(words, start)
    yield from _after(words, upper, ("GRANTED", "BY"))


def _after(words: list[str], upper: list[str], phrase: tuple[str, ...]) -> Iterator[str]:
    """Yield the list of names that follows the first occurrence of a phrase."""
    for at in range(len(words)):
        if tuple(upper[at : at + len(phrase)]) == phrase:
            yield from _list(words, at + len(phrase))
            return


def _list(words: list[str], start: int) -> Iterator[str]:
    """Yield names that are separated by commas."""
    for at in range(start, len(words), 2):
        yield _name(words[at])
        if words[at + 1 : at + 2] != [","]:
            return


def _from(upper: list[str], word: str) -> int:
    return upper.index(word) if word in upper else len(upper)


def _name(word: str) -> str:
    """Return the name that an identifier, or a text, stands for."""
    quote = word[:1]
    if quote in ("'", '"'):
        return word[1:-1].replace(quote * 2, quote)
    return word.lower()


class Roles:
    """The roles of a cluster to which a dump is restored; creates those that it lacks."""

    def __init__(
        self, connect: "Callable[[], Connection]", on_log: Callable[[str], None], *, create: bool
    ) -> None:
        """``create`` is whether to create roles at all."""
        self._connect = connect
        self._on_log = on_log
        self._create = create
        with connect() as connection:
            rows = connection.execute("SELECT rolname FROM pg_catalog.pg_roles").fetchall()
        self.present = frozenset(str(name) for (name,) in rows)
        self._known = set(self.present)

    def will_exist(self, name: str) -> None:
        """Note a role that the dump itself creates."""
        self._known.add(name)

    def need(self, names: Iterable[str]) -> None:
        """Create those of the roles that do not exist: without login or other rights.

        Raises StepFailed when a role cannot be created.
        """
        import psycopg

        missing = sorted({*names} - self._known)
        if not missing or not self._create:
            return
        self._known.update(missing)
        with self._connect() as connection:
            for name in missing:
                try:
                    connection.execute(f"CREATE ROLE {_quoted(name)} NOLOGIN".encode())
                except psycopg.Error as error:
                    text = f"cannot create role {name}, which the dump mentions: {error}"
                    raise StepFailed(FAILED, text.strip()) from error
        self._on_log(f"created roles that the dump mentions: {', '.join(missing)} (NOLOGIN)")


def protects(name: str) -> bool:
    """Return whether a role is the engine's own, which no dump may change."""
    return name == SUPERUSER


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
