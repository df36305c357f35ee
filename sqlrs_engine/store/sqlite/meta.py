"""What the engine notes about itself."""

import orjson

from sqlrs_engine.store.records import Json

from .database import Database


class Meta:
    """``MetaStore`` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> Json | None:
        """Return what was stored, None when nothing was."""
        with self._database.reading() as session:
            text = session.row("SELECT value FROM meta WHERE key = $key", key=key)
        if text is None:
            return None
        value: Json = orjson.loads(text)
        return value

    def put(self, key: str, value: Json) -> None:
        """Store an object in place of the former one."""
        with self._database.writing() as session:
            session.execute(
                "INSERT INTO meta (key, value) VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, orjson.dumps(value).decode()),
            )
