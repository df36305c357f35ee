"""Rows of states."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any

import orjson
from pony import orm

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store import Watcher
from sqlrs_engine.store.filters import StateFilter
from sqlrs_engine.store.records import Json, MadeState, ObservedInput, Recipe, State, Totals

from . import hot_reads
from .database import Database
from .hot_reads import STATES, Where
from .rows import Rows

DAMAGED = "damaged"
"""Stored instead of a boot's id: the files are damaged or gone, whatever the boot."""

_ROWS = Rows(State, relations={"parent_state_id": "parent"}, derived=("refcount",))


class States:
    """``StateStore`` on SQLite."""

    def __init__(self, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._entities = database.entities
        self._watcher = watcher

    def get(self, state_id: str) -> State | None:
        """Return the state with its refcount."""
        with self._database.reading_past_pony() as session:
            return STATES.get(session, state_id)

    def find(self, filter: StateFilter) -> list[State]:
        """Return the states that match."""
        with self._database.reading_past_pony() as session:
            return STATES.find(session, _where(filter))

    def find_json(
        self, filter: StateFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the states that match as JSON; see ``store``."""
        return STATES.pages(self._database, fields, _where(filter), separator)

    def add(
        self,
        state: State,
        recipe: Json | None = None,
        observed: Sequence[ObservedInput] = (),
        passed: Sequence[MadeState] = (),
    ) -> None:
        """Insert a state, or renew one whose files are new; see ``StateStore.add``."""
        with self._database.writing():
            inserted = [*filter(None, map(self._insert_passed, passed))]
            row = self._entities.State.get(state_id=state.state_id)
            if row is None:
                self._insert(state, recipe)
            else:
                row.set(size_bytes=state.size_bytes, boot_id=state.boot_id, observed=state.observed)
            self._put_observed(state.state_id, observed)
        for each in inserted:
            self._watcher.stored(each)
        self._relabel(made.state.state_id for made in passed if made.observed)
        if row is None:
            self._watcher.stored(state)
        else:
            self._relabel([state.state_id])

    def _insert_passed(self, made: MadeState) -> State | None:
        """Insert a state without files unless it is there; return what was inserted."""
        state = None
        if self._entities.State.get(state_id=made.state.state_id) is None:
            state = replace(made.state, boot_id=DAMAGED, size_bytes=0)
            self._insert(state, made.recipe)
        if made.observed:
            self._set(made.state.state_id, observed=True)
            self._put_observed(made.state.state_id, made.observed)
        return state

    def _insert(self, state: State, recipe: Json | None) -> None:
        parent = state.parent_state_id
        if parent is not None and self._entities.State.get(state_id=parent) is None:
            raise NotFound("parent state not found", parent)
        row = self._entities.State(**_ROWS.attributes(state))
        if recipe is not None:
            self._entities.Recipe(state=row, recipe=orjson.dumps(recipe).decode())

    def observed(self) -> Mapping[str, tuple[ObservedInput, ...]]:
        """Return the observed inputs of all states that have some; none where they are lost."""
        with self._database.reading_past_pony() as session:
            rows = session.rows(hot_reads.OBSERVED)
        return {
            state_id: tuple(ObservedInput(*each) for each in json.loads(inputs or "[]"))
            for state_id, inputs in rows
        }

    def set_observed(self, state_id: str, inputs: Sequence[ObservedInput]) -> None:
        """Replace a state's observed inputs."""
        with self._database.writing():
            if self._entities.State.get(state_id=state_id) is not None:
                self._set(state_id, observed=bool(inputs))
                self._put_observed(state_id, inputs)
        self._relabel([state_id])

    def _put_observed(self, state_id: str, inputs: Sequence[ObservedInput]) -> None:
        rows = self._entities.ObservedInputs
        rows.select(lambda row: row.state.state_id == state_id).delete(bulk=True)
        if inputs:
            # In ASCII: names of files may be no text.
            text = json.dumps([astuple(each) for each in inputs])
            rows(state=self._entities.State[state_id], inputs=text)

    def totals(self) -> Totals:
        """Return the number of states and their size."""
        with self._database.reading():
            count, size = orm.select(
                (orm.count(), orm.sum(s.size_bytes)) for s in self._entities.State
            ).get()
        return Totals(count=count, size_bytes=size)

    def held(self, youngest: Timestamp, now: Timestamp, also: Collection[str]) -> Totals:
        """Return the number and the size of the states needed; see ``StateStore.held``."""
        with self._database.reading_past_pony() as session:
            count, size = hot_reads.held(session, youngest, now, also)
        return Totals(count=count, size_bytes=size)

    def recipes(self, parent_state_id: str | None, limit: int) -> list[Recipe]:
        """Return the recipes of a state's children (None: of the states without a parent).

        At most ``limit`` are returned, the latest used first.
        """
        with self._database.reading():
            rows = self._entities.Recipe.select(
                lambda r: r.state.parent.state_id == parent_state_id
            )
            latest = rows.order_by(
                lambda r: (
                    orm.desc(orm.coalesce(r.state.last_used_at, r.state.created_at)),
                    orm.desc(r.state.state_id),
                )
            )
            found = orm.select((r.state.state_id, r.state.image_id, r.recipe) for r in latest)
            return [
                Recipe(state_id=state_id, image_id=image_id, step=orjson.loads(recipe))
                for state_id, image_id, recipe in found[:limit]
            ]

    def touch(self, state_id: str, used_at: Timestamp) -> None:
        """Record a use: set ``last_used_at`` and increment ``use_count``."""
        with self._database.writing():
            row = self._entities.State.get(state_id=state_id)
            if row is not None:
                row.set(last_used_at=used_at, use_count=row.use_count + 1)

    def set_durable(self, state_ids: Iterable[str]) -> None:
        """Record that the files of these states have reached the disk; skip damaged states."""
        ids = set(state_ids)
        with self._database.writing():
            for row in self._entities.State.select(lambda s: s.boot_id is not None):
                if row.state_id in ids and row.boot_id != DAMAGED:
                    row.boot_id = None
        self._relabel(ids)

    def set_proven(self, state_id: str) -> None:
        """Record that an instance of a state has started and let its user in."""
        with self._database.writing():
            self._set(state_id, proven=True)
        self._relabel([state_id])

    def set_damaged(self, state_id: str) -> None:
        """Record that the files of a state are unusable; see ``StateStore.set_damaged``."""
        with self._database.writing():
            self._set(state_id, boot_id=DAMAGED, proven=False)
        self._relabel([state_id])

    def set_gone(self, state_id: str) -> None:
        """Record that a state no longer has files; see ``StateStore.set_gone``."""
        self._database.freeing(lambda: self._set(state_id, boot_id=DAMAGED, size_bytes=0))
        self._relabel([state_id])

    def _set(self, state_id: str, **attributes: Any) -> None:
        row = self._entities.State.get(state_id=state_id)
        if row is not None:
            row.set(**attributes)

    def _relabel(self, state_ids: Iterable[str]) -> None:
        for state in filter(None, map(self.get, state_ids)):
            self._watcher.stored(state)

    def undurable(self) -> list[State]:
        """Return the states whose files may not have reached the disk."""
        state, instance = self._entities.State, self._entities.Instance
        with self._database.reading():
            # States without files have nothing to write to the disk, and there may be many.
            rows = state.select(
                lambda s: (
                    s.boot_id is not None
                    and (s.boot_id != DAMAGED or s.size_bytes is None or s.size_bytes != 0)
                )
            )
            ordered = rows.order_by(state.created_at, state.state_id)
            refcounts = dict(
                orm.select(
                    (i.state.state_id, orm.count()) for i in instance if i.state.boot_id is not None
                )
            )
            return [_ROWS.record(r, refcount=refcounts.get(r.state_id, 0)) for r in ordered]

    def remove(self, state_id: str) -> bool:
        """Delete a state's row and those that only it needed; see ``StateStore.remove``."""
        removed = self._database.freeing(lambda: self._remove(state_id))
        for each in (state_id, *removed):
            self._watcher.removed(State, each)
        return bool(removed)

    def _remove(self, state_id: str) -> list[str]:
        """Delete a row, and its ancestors without files that nothing refers to any more."""
        removed: list[str] = []
        wanted: str | None = state_id
        while wanted is not None:
            row = self._entities.State.get(state_id=wanted)
            gone = row is not None and row.boot_id == DAMAGED and row.size_bytes == 0
            if row is None or (removed and not (gone and self._is_unused(wanted))):
                break
            parent = row.parent and row.parent.state_id
            self._remove_row(wanted)
            removed.append(wanted)
            wanted = parent
        return removed

    def _is_unused(self, state_id: str) -> bool:
        entities = self._entities
        return not (
            entities.Instance.select(state=state_id).exists()
            or entities.State.select(parent=state_id).exists()
        )

    def _remove_row(self, state_id: str) -> None:
        entities = self._entities
        instance = entities.Instance.select(state=state_id).first()
        if instance is not None:
            raise _in_use("instance", instance.instance_id, state_id)
        child = entities.State.select(parent=state_id).first()
        if child is not None:
            raise _in_use("state", child.state_id, state_id)
        entities.State.select(state_id=state_id).delete(bulk=True)


def _in_use(kind: str, referrer: str, state_id: str) -> Conflict:
    return Conflict(
        "the state is in use: delete what refers to it first",
        f"{kind} {referrer} refers to {state_id}",
    )


def _where(filter: StateFilter) -> Where:
    where = STATES.where().equal(
        prepare_kind=filter.prepare_kind,
        image_id=filter.image_id,
        parent_state_id=filter.parent_state_id,
    )
    return where.prefix("state_id", filter.id_prefix)
