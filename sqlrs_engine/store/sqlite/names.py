"""Rows of names. A name outlives its instance; its status is worked out by each read."""

from collections.abc import Iterator, Sequence

from sqlrs_engine.clock import Clock, Timestamp
from sqlrs_engine.store import Watcher
from sqlrs_engine.store.filters import NameFilter
from sqlrs_engine.store.records import Name

from .database import Database
from .rows import Table, Where

_NAMES = Table(
    Name,
    source="names n LEFT JOIN instances i ON i.instance_id = n.instance_id",
    alias="n",
    order="n.name, n.rowid",
    derived={
        "status": (
            "CASE WHEN i.instance_id IS NULL THEN 'missing'"
            " WHEN i.expires_at < $now THEN 'expired' ELSE 'active' END"
        ),
    },
)


class Names:
    """``NameStore`` on SQLite."""

    def __init__(self, database: Database, clock: Clock, watcher: Watcher) -> None:
        self._database = database
        self._clock = clock
        self._watcher = watcher

    def get(self, name: str) -> Name | None:
        """Return the name's binding."""
        sql = _NAMES.select("n.name = $name")
        with self._database.reading() as session:
            row = session.row(sql, name=name, now=self._clock())
        return _NAMES.record(row) if row else None

    def find(self, filter: NameFilter) -> list[Name]:
        """Return the names that match."""
        where = self._where(filter)
        with self._database.reading() as session:
            rows = session.rows(_NAMES.select(str(where)), **where.params)
        return _NAMES.records(rows)

    def find_json(
        self, filter: NameFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the names that match as JSON; see ``store``."""
        return _NAMES.pages(self._database, fields, self._where(filter), separator)

    def _where(self, filter: NameFilter) -> Where:
        return Where("n", now=self._clock()).equal(
            instance_id=filter.instance_id,
            state_id=filter.state_id,
            image_id=filter.image_id,
        )

    def put(self, name: Name) -> bool:
        """Bind a name, replacing its former binding; say whether it is new."""
        row = _NAMES.row(name)
        with self._database.writing():
            entity = self._database.entities.Name.get(name=name.name)
            is_new = entity is None
            if is_new:
                self._database.entities.Name(**row, bound_at=self._clock())
            else:
                if entity.instance_id != name.instance_id:
                    row["bound_at"] = self._clock()
                del row["name"]
                entity.set(**row)
        self._watcher.kept(name)
        return is_new

    def touch(self, name: str, used_at: Timestamp) -> None:
        """Set ``last_used_at``."""
        with self._database.writing() as session:
            session.execute("UPDATE names SET last_used_at = ? WHERE name = ?", (used_at, name))

    def remove(self, name: str) -> bool:
        """Delete a name and say whether it was there."""
        sql = "DELETE FROM names WHERE name = ?"
        removed = self._database.freeing(lambda session: session.execute(sql, (name,)))
        self._watcher.gone(Name, name)
        return bool(removed)
