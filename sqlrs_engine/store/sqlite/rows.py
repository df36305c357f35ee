"""Between rows and records: columns, conditions, conversions."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

import orjson

R = TypeVar("R")

_AFTER_ANY_PREFIX = "\U0010ffff"


class Table(Generic[R]):
    """How the records of one class are read from and written to their table.

    ``derived`` maps fields that are no column to the SQL that computes them; ``json``
    fields are stored as text, ``flags`` as 0, 1 or NULL.
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
        # By position: lists of hundreds of rows go through `record`.
        self._flag_positions = tuple(map(self._names.index, self._flags))
        self._json_positions = tuple(map(self._names.index, self._json))
        self.columns = tuple(name for name in self._names if name not in self._derived)

    def select(self, where: str = "", *, order: str | None = None, tail: str = "") -> str:
        """Return the SELECT of whole records; ``where`` may use the table's alias."""
        shown = (self._derived.get(n, f"{self._alias}.{n}") for n in self._names)
        parts = ["SELECT", ", ".join(shown), "FROM", self._source]
        parts += ["WHERE", where] if where else []
        parts += ["ORDER BY", order or self._order]
        return " ".join([*parts, tail]).strip()

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

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._conditions: list[str] = []
        self.params: dict[str, Any] = {}

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
            column = f"{self._alias}.{column}"
            self._conditions.append(f"{column} >= $low AND {column} < $high")
            self.params |= {"low": prefix.lower(), "high": prefix.lower() + _AFTER_ANY_PREFIX}
        return self

    def __str__(self) -> str:
        return " AND ".join(self._conditions)
