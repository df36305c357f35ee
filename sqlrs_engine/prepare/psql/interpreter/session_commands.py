r"""Where a ``\connect`` leads (psql's command.c; PostgreSQL docs, 34.1.1)."""

import re
from collections.abc import Callable, Sequence
from urllib.parse import parse_qs, urlsplit

_URI = ("postgres://", "postgresql://")
_ELSEWHERE = frozenset({"host", "hostaddr", "port", "service", "servicefile"})
_SETTING = re.compile(r"(\w+)\s*=\s*('(?:\\.|[^'\\])*'|\S*)")
# psql's own variables, by any quoting: what they hold is where it is connected already.
_HERE = re.compile(r""":['"]?(?:DBNAME|USER|HOST|PORT)['"]?;*\Z""")


def other_server(words: Sequence[str], value: Callable[[str], str | None]) -> bool | None:
    r"""Return whether a ``\connect`` leads to another server, None when only psql knows.

    ``value`` returns what a word stands for.
    """
    given = ["-" if _HERE.match(word) else value(word) for word in words]
    if given and (given[0] or "").startswith("-reuse-previous="):
        given = given[1:]
    answers = [_names_server(given[0])] if given else []
    answers += [None if each is None else each not in ("-", "") for each in given[2:4]]
    if True in answers:
        return True
    return None if None in answers else False


def _names_server(target: str | None) -> bool | None:
    """Return whether the name of a database is a connection string that names a server."""
    if target is None:
        return None
    if target.startswith(_URI):
        try:
            parts = urlsplit(target)
        except ValueError:
            return True
        return bool(parts.netloc.rpartition("@")[2]) or not _ELSEWHERE.isdisjoint(
            parse_qs(parts.query)
        )
    return any(name in _ELSEWHERE for name, _ in _SETTING.findall(target))
