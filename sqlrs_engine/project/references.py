"""The rules of a project file that no schema expresses: references, names and durations."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlrs_engine import durations, ids
from sqlrs_engine.errors import InvalidArgument

from .database import instance_name
from .problems import Problem
from .shape import nearest

Tables = Mapping[str, Mapping[str, Any]]


def reference_problems(tables: Tables, names: list[str], directory_name: str) -> list[Problem]:
    """Return what is wrong with databases whose shape is right.

    ``names`` are those of all databases of the file, which ``from`` may name.
    """
    return [
        *_broken_origins(tables, names),
        *_circles(tables),
        *_wrong_names(tables, directory_name),
        *_wrong_durations(tables),
    ]


def lineage(tables: Tables, name: str) -> list[str]:
    """Return a database and those that it starts from, in this order.

    It ends before a database that is missing or that it contains already.
    """
    found: list[str] = []
    while name in tables and name not in found:
        found.append(name)
        name = tables[name].get("from", "")
    return found


def _broken_origins(tables: Tables, names: list[str]) -> Iterator[Problem]:
    for name, table in tables.items():
        origin = table.get("from", name)
        if origin not in names:
            reason = f"there is no database {origin}; {nearest(origin, names)}"
            yield Problem(("database", name, "from"), reason)


def _circles(tables: Tables) -> Iterator[Problem]:
    reported: set[str] = set()
    for name in tables:
        found = lineage(tables, name)
        if tables[found[-1]].get("from") == name and name not in reported:
            reported.update(found)
            circle = " → ".join([*found, name])
            yield Problem(
                ("database", name, "from"), f"the databases start from each other: {circle}"
            )


def _wrong_names(tables: Tables, directory_name: str) -> Iterator[Problem]:
    taken: dict[str, str] = {}
    for name, table in tables.items():
        given = instance_name(name, table, directory_name)
        if ids.is_instance_id(given):
            yield Problem(("database", name, "name"), "must not have the form of an instance id")
        elif given in taken:
            reason = f"database {taken[given]} has the instance name {given}, too: choose another"
            yield Problem(("database", name, "name"), reason)
        taken.setdefault(given, name)


def _wrong_durations(tables: Tables) -> Iterator[Problem]:
    for name, table in tables.items():
        try:
            if durations.parse(table.get("ttl", "0")) < 0:
                yield Problem(("database", name, "ttl"), "must not be negative")
        except InvalidArgument as error:
            yield Problem(("database", name, "ttl"), str(error.details))
