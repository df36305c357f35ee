"""Rows of instances. Name and status are worked out by each read."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlrs_engine.clock import Clock
from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store import Watcher
from sqlrs_engine.store.filters import InstanceFilter
from sqlrs_engine.store.records import Instance

from . import states
from .database import Database, Session
from .rows import Table, Where

_INSTANCES = Table(
    Instance,
    source="""(
        SELECT instances.rowid AS number, instances.*, (
            SELECT names.name FROM names WHERE names.instance_id = instances.instance_id
            ORDER BY names.bound_at, names.name LIMIT 1
        ) AS name
        FROM instances
    ) i""",
    alias="i",
    order="i.created_at, i.number",
    derived={
        "name": "i.name",
        "status": (
            "CASE WHEN i.expires_at < $now THEN 'expired'"
            " WHEN i.name IS NULL THEN 'orphaned' ELSE 'active' END"
        ),
    },
    flags=("protected",),
)


class Instances:
    """``InstanceStore`` on SQLite."""

    def __init__(self, database: Database, clock: Clock, watcher: Watcher) -> None:
        self._database = database
        self._clock = clock
        self._watcher = watcher

    def get(self, instance_id: str) -> Instance | None:
        """Return the instance."""
        with self._database.reading() as session:
            return self._read(session, instance_id)

    def find(self, filter: InstanceFilter) -> list[Instance]:
        """Return the instances that match."""
        where = self._where(filter)
        with self._database.reading() as session:
            rows = session.rows(_INSTANCES.select(str(where)), **where.params)
        return _INSTANCES.records(rows)

    def find_json(
        self, filter: InstanceFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the instances that match as JSON; see ``store``."""
        return _INSTANCES.pages(self._database, fields, self._where(filter), separator)

    def add(self, instance: Instance) -> None:
        """Insert an instance.

        Raises NotFound when its state is gone, Conflict when its port, or what it is
        made for, is another instance's.
        """
        row = _INSTANCES.row(instance)
        with self._database.writing() as session:
            _check_references(session, instance.instance_id, row)
            self._database.entities.Instance(**row)
        self._watcher.kept(instance)

    def update(self, instance_id: str, **changes: Any) -> Instance | None:
        """Change columns (named as the record's fields) and return the new record.

        Raises NotFound and Conflict as ``add`` does.
        """
        columns = _INSTANCES.changes(changes)
        with self._database.writing() as session:
            entity = self._database.entities.Instance.get(instance_id=instance_id)
            if entity is None:
                return None
            _check_references(session, instance_id, columns)
            entity.set(**columns)
            instance = self._read(session, instance_id)
        if instance is not None:
            self._watcher.kept(instance, changes)
        return instance

    def remove(self, instance_id: str) -> bool:
        """Delete an instance's row and say whether it was there. Names stay."""
        sql = "DELETE FROM instances WHERE instance_id = ?"
        removed = self._database.freeing(lambda session: session.execute(sql, (instance_id,)))
        self._watcher.gone(Instance, instance_id)
        return bool(removed)

    def ports(self) -> set[int]:
        """Return the ports of all instances."""
        with self._database.reading() as session:
            return set(session.rows("SELECT port FROM instances"))

    def _where(self, filter: InstanceFilter) -> Where:
        where = Where("i", now=self._clock())
        where.equal(state_id=filter.state_id, image_id=filter.image_id, made_for=filter.made_for)
        where.prefix("made_for", filter.made_for_prefix)
        return where.prefix("instance_id", filter.id_prefix)

    def _read(self, session: Session, instance_id: str) -> Instance | None:
        sql = _INSTANCES.select("i.instance_id = $instance_id")
        row = session.row(sql, instance_id=instance_id, now=self._clock())
        return _INSTANCES.record(row) if row else None


def _check_references(session: Session, instance_id: str, columns: dict[str, Any]) -> None:
    """Check what the schema would refuse too, but without saying why."""
    state_id, port = columns.get("state_id"), columns.get("port")
    if state_id is not None and not states.exists(session, state_id):
        raise NotFound.of("state", state_id)
    holder = session.row("SELECT instance_id FROM instances WHERE port = $port", port=port)
    if holder is not None and holder != instance_id:
        raise Conflict("the port is taken", f"port {port} belongs to instance {holder}")
    made_for = columns.get("made_for")
    if made_for is None:
        return
    other = session.row("SELECT instance_id FROM instances WHERE made_for = $key", key=made_for)
    if other is not None and other != instance_id:
        raise Conflict("there is an instance for this already", f"{other} is for {made_for}")
