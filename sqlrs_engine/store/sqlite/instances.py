"""Rows of instances. Each read works out their name and status."""

from collections.abc import Iterator, Sequence
from typing import Any

from pony import orm

from sqlrs_engine.clock import Clock
from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store import Watcher
from sqlrs_engine.store.filters import InstanceFilter
from sqlrs_engine.store.records import Instance

from .database import Database, Session
from .hot_reads import INSTANCES, STATES, Where
from .rows import Rows

_ROWS = Rows(Instance, relations={"state_id": "state"}, derived=("name", "status"))


class Instances:
    """``InstanceStore`` on SQLite."""

    def __init__(self, database: Database, clock: Clock, watcher: Watcher) -> None:
        self._database = database
        self._entities = database.entities
        self._clock = clock
        self._watcher = watcher

    def get(self, instance_id: str) -> Instance | None:
        """Return the instance."""
        with self._database.reading_past_pony() as session:
            return INSTANCES.get(session, instance_id, now=self._clock())

    def find(self, filter: InstanceFilter) -> list[Instance]:
        """Return the instances that match."""
        with self._database.reading_past_pony() as session:
            return INSTANCES.find(session, self._where(filter))

    def find_json(
        self, filter: InstanceFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the instances that match as JSON; see ``store``."""
        return INSTANCES.pages(self._database, fields, self._where(filter), separator)

    def _where(self, filter: InstanceFilter) -> Where:
        where = INSTANCES.where(now=self._clock())
        where.equal(state_id=filter.state_id, image_id=filter.image_id, made_for=filter.made_for)
        where.prefix("made_for", filter.made_for_prefix)
        return where.prefix("instance_id", filter.id_prefix)

    def add(self, instance: Instance) -> None:
        """Insert an instance.

        Raises NotFound when its state is gone, Conflict when its port or its purpose belongs
        to another instance.
        """
        attributes = _ROWS.attributes(instance)
        with self._database.writing() as session:
            self._check_references(session, instance.instance_id, attributes)
            self._entities.Instance(**attributes)
        self._watcher.stored(instance)

    def update(self, instance_id: str, **changes: Any) -> Instance | None:
        """Change these fields and return the new record.

        Raises NotFound and Conflict as ``add`` does.
        """
        attributes = _ROWS.changes(changes)
        with self._database.writing() as session:
            row = self._entities.Instance.get(instance_id=instance_id)
            if row is None:
                return None
            self._check_references(session, instance_id, attributes)
            row.set(**attributes)
            instance = INSTANCES.get(session, instance_id, now=self._clock())
        if instance is not None:
            self._watcher.stored(instance, changes)
        return instance

    def _check_references(
        self, session: Session, instance_id: str, attributes: dict[str, Any]
    ) -> None:
        """Refuse what the schema would refuse as well, with a message that gives the reason."""
        state_id, port = attributes.get("state"), attributes.get("port")
        if state_id is not None and not STATES.has(session, state_id):
            raise NotFound.of("state", state_id)
        holder = None if port is None else self._entities.Instance.get(port=port)
        if holder is not None and holder.instance_id != instance_id:
            raise Conflict(
                "the port is taken", f"port {port} belongs to instance {holder.instance_id}"
            )
        purpose = attributes.get("made_for")
        other = None if purpose is None else self._entities.Instance.get(made_for=purpose)
        if other is not None and other.instance_id != instance_id:
            raise Conflict(
                "there is an instance for this already", f"{other.instance_id} is for {purpose}"
            )

    def remove(self, instance_id: str) -> bool:
        """Delete an instance's row; return whether it was there. Its names stay."""
        rows = self._entities.Instance
        removed = self._database.freeing(
            lambda: rows.select(instance_id=instance_id).delete(bulk=True)
        )
        self._watcher.removed(Instance, instance_id)
        return bool(removed)

    def ports(self) -> set[int]:
        """Return the ports of all instances."""
        with self._database.reading():
            return set(orm.select(i.port for i in self._entities.Instance))
