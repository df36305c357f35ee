"""Notes of the engine about itself."""

import orjson

from sqlrs_engine.store.records import Json

from .database import Database


class Meta:
    """``MetaStore`` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entity = database.entities.Meta

    def get(self, key: str) -> Json | None:
        """Return the object stored under a key, None when there is none."""
        with self._database.reading():
            row = self._entity.get(key=key)
        if row is None:
            return None
        value: Json = orjson.loads(row.value)
        return value

    def put(self, key: str, value: Json) -> None:
        """Store an object under a key, replacing the former one."""
        text = orjson.dumps(value).decode()
        with self._database.writing():
            row = self._entity.get(key=key)
            if row is None:
                self._entity(key=key, value=text)
            else:
                row.value = text
