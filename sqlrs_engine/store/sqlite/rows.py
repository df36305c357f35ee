"""Converts records to entities of the database and back."""

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any, Generic, TypeVar, get_args

import orjson

from sqlrs_engine.store.records import Json

R = TypeVar("R")


def is_json(field: "Field[Any]") -> bool:
    """Return whether a record's field holds an object, which is stored as JSON text."""
    return Json in (field.type, *get_args(field.type))


class Rows(Generic[R]):
    """Converts the records of one class to attributes of an entity, and back.

    ``relations`` maps the fields that hold another row's key to the relations of the entity;
    ``derived`` are the fields that are not stored. All others are attributes of the same name.
    """

    def __init__(
        self,
        record: type[R],
        *,
        relations: Mapping[str, str] | None = None,
        derived: tuple[str, ...] = (),
    ) -> None:
        self._record = record
        self._relations = dict(relations or {})
        stored = [f for f in fields(record) if f.name not in derived]  # type: ignore[arg-type]
        self._json = {field.name for field in stored if is_json(field)}
        self._names = {field.name: self._relations.get(field.name, field.name) for field in stored}

    def attributes(self, record: R) -> dict[str, Any]:
        """Return the attributes of a record's entity."""
        return self.changes({name: getattr(record, name) for name in self._names})

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes that hold these fields.

        Raises TypeError on a field that is not stored.
        """
        unknown = values.keys() - self._names.keys()
        if unknown:
            raise TypeError(f"{self._record.__name__} has no column {', '.join(sorted(unknown))}")
        return {self._names[name]: self._stored(name, value) for name, value in values.items()}

    def record(self, entity: Any, **derived: Any) -> R:
        """Return the record of an entity, with these values of derived fields.

        Raises ValueError when what is stored is not the JSON that was written.
        """
        values = {name: getattr(entity, attribute) for name, attribute in self._names.items()}
        for name in self._relations:
            values[name] = values[name] and values[name].get_pk()
        for name in self._json:
            values[name] = values[name] and orjson.loads(values[name])
        return self._record(**values, **derived)

    def _stored(self, name: str, value: Any) -> Any:
        if name in self._json and value is not None:
            return orjson.dumps(value).decode()
        return value
