"""The raw SQL of the store: the reads whose speed clients notice. All others go through Pony.

Microseconds per read through Pony's entities, and here (Python 3.11, two shared cores):

====================  ======  =====
read                    Pony   here
====================  ======  =====
a name by its key        114     23
a state by its id        120     18
an instance by its id    235     26
a job by its id          133     20
four tasks of a job      346     44
a page of events         156     20
1,000 jobs as JSON    41,000  2,000
====================  ======  =====

The last is 6,400 with Pony's queries of plain columns; here SQLite makes the JSON.

Requests per second of the engine's CPU time: a name 1,800 through Pony and 3,200 here, the list
of 1,000 names 33 and 284.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, Generic, TypeVar, get_args

import orjson

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.store.records import Instance, Job, Name, State, Task

from .database import Database, Session
from .rows import is_json

R = TypeVar("R")

PAGE_ROWS = 2000
"""Rows of a JSON list that are read, and held in memory, at a time."""

_AFTER_ANY_PREFIX = "\U0010ffff"


class Where:
    """Conditions on the columns of one table, joined by AND, and their parameters."""

    def __init__(self, alias: str, **params: Any) -> None:
        """``params`` are parameters that the table's own SQL needs."""
        self._alias = alias
        self._conditions: list[str] = []
        self.params: dict[str, Any] = params

    def equal(self, **columns: Any) -> "Where":
        """Require columns to have these values; None requires nothing."""
        for column, value in columns.items():
            if value is not None:
                self._conditions.append(f"{self._alias}.{column} = ${column}")
                self.params[column] = value
        return self

    def prefix(self, column: str, prefix: str | None) -> "Where":
        """Require a prefix of a column of lower-case ids; as a range, so that an index serves."""
        if prefix:
            low, high = f"{column}_low", f"{column}_high"
            column = f"{self._alias}.{column}"
            self._conditions.append(f"{column} >= ${low} AND {column} < ${high}")
            self.params |= {low: prefix.lower(), high: prefix.lower() + _AFTER_ANY_PREFIX}
        return self

    def after(self, order: str, last: Sequence[Any]) -> None:
        """Require rows to come after ``last``, the values of two columns, in their order."""
        condition = f"({order}) > ($last_1, $last_2)"
        if condition not in self._conditions:
            self._conditions.append(condition)
        self.params |= {"last_1": last[0], "last_2": last[1]}

    def __str__(self) -> str:
        """Return the WHERE clause, empty without conditions."""
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


class Reader(Generic[R]):
    """Reads the records of one class.

    ``order`` is two columns that order the rows and identify each. ``key`` is the column that
    ``get`` looks up. ``derived`` maps fields that are not columns to the SQL that computes
    them, which may need parameters.
    """

    def __init__(
        self,
        record: type[R],
        source: str,
        *,
        alias: str,
        order: str,
        key: str = "rowid",
        derived: Mapping[str, str] | None = None,
    ) -> None:
        known = fields(record)  # type: ignore[arg-type]
        self._record = record
        self._source = source
        self._alias = alias
        self._order = order
        self._names = tuple(field.name for field in known)
        self._optional = {f.name for f in known if NoneType in get_args(f.type)}
        self._flags = {f.name for f in known if bool in (f.type, *get_args(f.type))}
        # By position: lists of hundreds of rows are made into records.
        self._flag_positions = [n for n, name in enumerate(self._names) if name in self._flags]
        self._json_positions = [n for n, field in enumerate(known) if is_json(field)]
        self._sql = {n: f"{alias}.{n}" for n in self._names} | dict(derived or {})
        self._select = f"SELECT {', '.join(self._sql[n] for n in self._names)} FROM {source}"  # noqa: S608 - no input
        self._get = f"{self._select} WHERE {alias}.{key} = $key"
        self._has = f"SELECT 1 FROM {source} WHERE {alias}.{key} = $key"  # noqa: S608 - no input

    def where(self, **params: Any) -> Where:
        """Return the start of conditions on the columns, with the parameters of ``derived``."""
        return Where(self._alias, **params)

    def get(self, session: Session, key: str, **params: Any) -> R | None:
        """Return the record with a key."""
        row = session.row(self._get, key=key, **params)
        return None if row is None else self._from(row)

    def has(self, session: Session, key: str) -> bool:
        """Return whether there is a row with a key."""
        return session.row(self._has, key=key) is not None

    def find(self, session: Session, where: Where) -> list[R]:
        """Return the records that match."""
        rows = session.rows(f"{self._select} {where} ORDER BY {self._order}", **where.params)
        return [*map(self._from, rows)]

    def pages(
        self, database: Database, shown: Sequence[str], where: Where, separator: str
    ) -> Iterator[bytes]:
        """Yield rows as JSON objects of these fields, many at a time with ``separator`` between.

        Fields that are NULL and flags that are not set are left out. Each page starts after
        the last row of the one before, so rows added or removed meanwhile do not disturb it.
        """
        columns = f"{self._json_object(shown)}, {self._order}"
        rows: list[Any] = [()] * PAGE_ROWS
        while len(rows) == PAGE_ROWS:
            sql = (
                f"SELECT {columns} FROM {self._source} {where}"  # noqa: S608 - no input
                f" ORDER BY {self._order} LIMIT {PAGE_ROWS}"
            )
            with database.reading_past_pony() as session:
                rows = session.rows(sql, **where.params)
            if rows:
                yield separator.join([row[0] for row in rows]).encode()
                where.after(self._order, rows[-1][1:])

    def _json_object(self, shown: Sequence[str]) -> str:
        """Return the SQL of a JSON object.

        SQLite makes it faster than Python makes records of its rows. ``json_patch``, which
        removes nulls, runs only on rows that have some.
        """
        plain = [f"'{name}', {self._sql[name]}" for name in shown if name not in self._flags]
        flags = [self._sql[name] for name in shown if name in self._flags]
        marks = [
            f"'{name}', iif({self._sql[name]}, json('true'), NULL)"
            for name in shown
            if name in self._flags
        ]
        empty = [f"{self._sql[name]} IS NULL" for name in shown if name in self._optional]
        needs_patch = " OR ".join([*empty, *flags]) or "false"
        return (
            f"iif({needs_patch}, json_patch('{{}}', json_object({', '.join(plain + marks)})),"
            f" json_object({', '.join(plain)}))"
        )

    def _from(self, row: Iterable[Any]) -> R:
        values = list(row)
        for position in self._flag_positions:
            if values[position] is not None:
                values[position] = bool(values[position])
        for position in self._json_positions:
            if values[position] is not None:
                values[position] = orjson.loads(values[position])
        return self._record(**dict(zip(self._names, values, strict=True)))


STATES = Reader(
    State,
    "states s",
    alias="s",
    key="state_id",
    order="s.created_at, s.rowid",
    derived={"refcount": "(SELECT count(*) FROM instances i WHERE i.state_id = s.state_id)"},
)

INSTANCES = Reader(
    Instance,
    """(
        SELECT instances.rowid AS number, instances.*, (
            SELECT names.name FROM names WHERE names.instance_id = instances.instance_id
            ORDER BY names.bound_at, names.name LIMIT 1
        ) AS name
        FROM instances
    ) i""",
    alias="i",
    key="instance_id",
    order="i.created_at, i.number",
    derived={
        "name": "i.name",
        "status": (
            "CASE WHEN i.expires_at < $now THEN 'expired'"
            " WHEN i.name IS NULL THEN 'orphaned' ELSE 'active' END"
        ),
    },
)

NAMES = Reader(
    Name,
    "names n LEFT JOIN instances i ON i.instance_id = n.instance_id",
    alias="n",
    key="name",
    order="n.name, n.rowid",
    derived={
        "status": (
            "CASE WHEN i.instance_id IS NULL THEN 'missing'"
            " WHEN i.expires_at < $now THEN 'expired' ELSE 'active' END"
        ),
    },
)

JOBS = Reader(Job, "jobs j", alias="j", key="job_id", order="j.created_at, j.rowid")

TASKS = Reader(Task, "tasks t", alias="t", order="t.job_id, t.position")

OBSERVED = """\
SELECT s.state_id, o.inputs FROM states s LEFT JOIN observed_inputs o ON o.state_id = s.state_id
 WHERE s.observed
"""

EVENT_COUNT = "SELECT max(first + count) FROM event_blocks WHERE job_id = $job_id"
LAST_EVENT_BLOCK = """\
SELECT first, count, lines FROM event_blocks
 WHERE job_id = $job_id ORDER BY first DESC LIMIT 1
"""
EVENT_BLOCKS = """\
SELECT first, lines FROM event_blocks
 WHERE job_id = $job_id AND first >= coalesce(
    (SELECT max(first) FROM event_blocks WHERE job_id = $job_id AND first <= $start), 0)
 ORDER BY first LIMIT $most
"""

_HELD = """\
SELECT count(*), coalesce(sum(size_bytes), 0) FROM states WHERE rowid IN (
    WITH RECURSIVE held (number, parent_state_id) AS (
        SELECT rowid, parent_state_id FROM states
         WHERE created_at > $youngest OR min_retention_until > $now
            OR state_id IN (SELECT state_id FROM instances)
            OR state_id IN (SELECT value FROM json_each($also))
        UNION
        SELECT parent.rowid, parent.parent_state_id
          FROM held JOIN states parent ON parent.state_id = held.parent_state_id
    )
    SELECT number FROM held
)
"""


def held(
    session: Session, youngest: Timestamp, now: Timestamp, also: Collection[str]
) -> tuple[int, int]:
    """Return the number and the size of the states that are needed; see ``StateStore.held``.

    It is here because it is recursive, which Pony cannot express.
    """
    ids = orjson.dumps([*also]).decode()
    [(count, size)] = session.rows(_HELD, youngest=youngest, now=now, also=ids)
    return count, size
