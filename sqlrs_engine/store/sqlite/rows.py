"""Between rows and records: columns, conditions, conversions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from types import NoneType
from typing import Any, Generic, TypeVar, get_args

import orjson

from .database import Database

R = TypeVar("R")

_PAGE_ROWS = 2000
_AFTER_ANY_PREFIX = "\U0010ffff"


class Table(Generic[R]):
    """How the records of one class are read from and written to their table.

    ``derived`` maps fields that are no column to the SQL that computes them; ``json``
    fields are stored as text, ``flags`` as 0, 1 or NULL. ``order`` is two columns that
    order the rows and tell each from all others.
    """

    def __init__(
        self,
        record: type[R],
        *,
        source: str,
        alias: str,
        order: str,
        derived: Mapping[str, str] | None = None,
        json: Iterable[str] = (),
        flags: Iterable[str] = (),
    ) -> None:
        self._record = record
        self._derived = dict(derived or {})
        self._json = tuple(json)
        self._flags = tuple(flags)
        self._source = source
        self._alias = alias
        self._order = order
        self._names = tuple(field.name for field in fields(record))  # type: ignore[arg-type]
        self._optional = {f.name for f in fields(record) if NoneType in get_args(f.type)}  # type: ignore[arg-type]
        # By position: lists of hundreds of rows go through `record`.
        self._flag_positions = tuple(map(self._names.index, self._flags))
        self._json_positions = tuple(map(self._names.index, self._json))
        self.columns = tuple(name for name in self._names if name not in self._derived)

    def select(self, where: str = "", *, order: str | None = None, tail: str = "") -> str:
        """Return the SELECT of whole records; ``where`` may use the table's alias."""
        parts = ["SELECT", ", ".join(map(self._sql, self._names)), "FROM", self._source]
        parts += ["WHERE", where] if where else []
        parts += ["ORDER BY", order or self._order]
        return " ".join([*parts, tail]).strip()

    def pages(
        self, database: Database, fields: Sequence[str], where: "Where", separator: str
    ) -> Iterator[bytes]:
        """Yield rows as JSON objects of these fields, many at a time with ``separator`` between.

        Fields that are NULL and flags that are not set are left out. A page goes on behind
        the last one's end, so that it does not matter what is added or removed meanwhile.
        """
        shown = f"{self._json_object(fields)}, {self._order}"
        rows: list[Any] = [()] * _PAGE_ROWS
        while len(rows) == _PAGE_ROWS:
            condition = f"WHERE {where}" if str(where) else ""
            sql = (
                f"SELECT {shown} FROM {self._source} {condition}"  # noqa: S608 - no input
                f" ORDER BY {self._order} LIMIT {_PAGE_ROWS}"
            )
            with database.reading() as session:
                rows = session.rows(sql, **where.params)
            if rows:
                yield separator.join([row[0] for row in rows]).encode()
                where.after(self._order, rows[-1][1:])

    def _json_object(self, fields: Sequence[str]) -> str:
        """Return the SQL of a JSON object.

        SQLite is quicker at it than we are at making records of its rows. The patch of
        nothing removes what is null, which many rows can do without.
        """
        plain = [f"'{name}', {self._sql(name)}" for name in fields if name not in self._flags]
        flags = [name for name in fields if name in self._flags]
        marks = [f"'{name}', iif({self._sql(name)}, json('true'), NULL)" for name in flags]
        empty = [f"{self._sql(name)} IS NULL" for name in fields if name in self._optional]
        needs_patch = " OR ".join([*empty, *map(self._sql, flags)]) or "false"
        return (
            f"iif({needs_patch}, json_patch('{{}}', json_object({', '.join(plain + marks)})),"
            f" json_object({', '.join(plain)}))"
        )

    def record(self, row: Iterable[Any]) -> R:
        """Return the record of a row of ``select``."""
        values = list(row)
        for position in self._flag_positions:
            if values[position] is not None:
                values[position] = bool(values[position])
        for position in self._json_positions:
            if values[position] is not None:
                values[position] = orjson.loads(values[position])
        return self._record(**dict(zip(self._names, values, strict=True)))

    def records(self, rows: Iterable[Iterable[Any]]) -> list[R]:
        """Return the records of rows of ``select``."""
        record = self.record
        return [record(row) for row in rows]

    def _sql(self, name: str) -> str:
        return self._derived.get(name, f"{self._alias}.{name}")

    def row(self, record: R) -> dict[str, Any]:
        """Return the columns of a record, as its entity takes them."""
        return self.changes({name: getattr(record, name) for name in self.columns})

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return some columns as the entity takes them.

        Raises TypeError on a field that is no column of the table.
        """
        unknown = set(values) - set(self.columns)
        if unknown:
            raise TypeError(f"{self._record.__name__} has no column {', '.join(sorted(unknown))}")
        stored = dict(values)
        for name in self._json:
            if stored.get(name) is not None:
                stored[name] = orjson.dumps(stored[name]).decode()
        return stored


class Where:
    """Conditions on the columns of a table's alias, joined by AND, and their parameters."""

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
        """Require a column of lower-case ids to start so; a range, for the index's sake."""
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
        return " AND ".join(self._conditions)
