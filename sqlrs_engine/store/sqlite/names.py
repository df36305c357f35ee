"""Rows of names. A name outlives its instance; each read works out its status."""

from collections.abc import Iterator, Sequence

from sqlrs_engine.clock import Clock, Timestamp
from sqlrs_engine.store import Watcher
from sqlrs_engine.store.filters import NameFilter
from sqlrs_engine.store.records import Name

from .database import Database
from .hot_reads import NAMES, Where
from .rows import Rows

_ROWS = Rows(Name, derived=("status",))


class Names:
    """``NameStore`` on SQLite."""

    def __init__(self, database: Database, clock: Clock, watcher: Watcher) -> None:
        self._database = database
        self._entity = database.entities.Name
        self._clock = clock
        self._watcher = watcher

    def get(self, name: str) -> Name | None:
        """Return the name's binding."""
        with self._database.reading_past_pony() as session:
            return NAMES.get(session, name, now=self._clock())

    def find(self, filter: NameFilter) -> list[Name]:
        """Return the names that match."""
        with self._database.reading_past_pony() as session:
            return NAMES.find(session, self._where(filter))

    def find_json(
        self, filter: NameFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the names that match as JSON; see ``store``."""
        return NAMES.pages(self._database, fields, self._where(filter), separator)

    def _where(self, filter: NameFilter) -> Where:
        return NAMES.where(now=self._clock()).equal(
            instance_id=filter.instance_id,
            state_id=filter.state_id,
            image_id=filter.image_id,
        )

    def put(self, name: Name) -> bool:
        """Bind a name, replacing its former binding; return whether the name is new."""
        attributes = _ROWS.attributes(name)
        with self._database.writing():
            row = self._entity.get(name=name.name)
            if row is None:
                self._entity(**attributes, bound_at=self._clock())
            else:
                if row.instance_id != name.instance_id:
                    row.bound_at = self._clock()
                row.set(**attributes)
        self._watcher.stored(name)
        return row is None

    def touch(self, name: str, used_at: Timestamp) -> None:
        """Set ``last_used_at``."""
        with self._database.writing():
            row = self._entity.get(name=name)
            if row is not None:
                row.last_used_at = used_at

    def remove(self, name: str) -> bool:
        """Delete a name; return whether it was there."""
        removed = self._database.freeing(lambda: self._entity.select(name=name).delete(bulk=True))
        self._watcher.removed(Name, name)
        return bool(removed)
