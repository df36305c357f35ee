"""Rows of states."""

from collections.abc import Collection, Iterable, Iterator, Sequence

import orjson

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store import Watcher
from sqlrs_engine.store.filters import StateFilter
from sqlrs_engine.store.records import Json, Recipe, State, Totals

from .database import Database, Session
from .rows import Table, Where

DAMAGED = "damaged"
"""In place of a boot's id: files that no boot can vouch for."""

_STATES = Table(
    State,
    source="states s",
    alias="s",
    order="s.created_at, s.rowid",
    flags=("proven",),
    derived={"refcount": "(SELECT count(*) FROM instances i WHERE i.state_id = s.state_id)"},
)

_HELD = """\
SELECT count(*), sum(size_bytes) FROM states WHERE rowid IN (
    WITH RECURSIVE held (number, parent_state_id) AS (
        SELECT rowid, parent_state_id FROM states
         WHERE created_at > $youngest OR min_retention_until > $now
            OR state_id IN (SELECT state_id FROM instances)
            OR state_id IN (SELECT value FROM json_each($also))
        UNION
        SELECT parent.rowid, parent.parent_state_id
          FROM held JOIN states parent ON parent.state_id = held.parent_state_id
    )
    SELECT number FROM held
)
"""


class States:
    """``StateStore`` on SQLite."""

    def __init__(self, database: Database, watcher: Watcher) -> None:
        self._database = database
        self._watcher = watcher

    def get(self, state_id: str) -> State | None:
        """Return the state, its refcount filled in."""
        with self._database.reading() as session:
            row = session.row(_STATES.select("s.state_id = $state_id"), state_id=state_id)
        return _STATES.record(row) if row else None

    def find(self, filter: StateFilter) -> list[State]:
        """Return the states that match."""
        where = _where(filter)
        with self._database.reading() as session:
            rows = session.rows(_STATES.select(str(where)), **where.params)
        return _STATES.records(rows)

    def find_json(
        self, filter: StateFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the states that match as JSON; see ``store``."""
        return _STATES.pages(self._database, fields, _where(filter), separator)

    def add(self, state: State, recipe: Json | None = None) -> None:
        """Insert a state, or renew one whose files are new; see ``StateStore.add``."""
        with self._database.writing() as session:
            known = exists(session, state.state_id)
            if known:
                session.execute(
                    "UPDATE states SET size_bytes = ?, boot_id = ? WHERE state_id = ?",
                    (state.size_bytes, state.boot_id, state.state_id),
                )
            else:
                self._insert(session, state, recipe)
        if known:
            self._relabel([state.state_id])
        else:
            self._watcher.kept(state)

    def _insert(self, session: Session, state: State, recipe: Json | None) -> None:
        parent = state.parent_state_id
        if parent is not None and not exists(session, parent):
            raise NotFound("parent state not found", parent)
        self._database.entities.State(**_STATES.row(state))
        if recipe is not None:
            session.execute(
                "INSERT INTO recipes (state_id, recipe) VALUES (?, ?)",
                (state.state_id, orjson.dumps(recipe).decode()),
            )

    def totals(self) -> Totals:
        """Return how many states there are, and their size."""
        with self._database.reading() as session:
            [(count, size)] = session.rows("SELECT count(*), sum(size_bytes) FROM states")
        return Totals(count=count, size_bytes=size or 0)

    def held(self, youngest: Timestamp, now: Timestamp, also: Collection[str]) -> Totals:
        """Return how many states are needed, and their size; see ``StateStore.held``."""
        with self._database.reading() as session:
            [(count, size)] = session.rows(
                _HELD, youngest=youngest, now=now, also=orjson.dumps([*also]).decode()
            )
        return Totals(count=count, size_bytes=size or 0)

    def recipes(self, parent_state_id: str | None, limit: int) -> list[Recipe]:
        """Return the recipes of a state's children (None: of the states without a parent).

        At most ``limit`` of them, the latest used first.
        """
        with self._database.reading() as session:
            rows = session.rows(
                "SELECT s.state_id, s.image_id, r.recipe FROM states s "
                "JOIN recipes r ON r.state_id = s.state_id "
                "WHERE s.parent_state_id IS $parent "
                "ORDER BY coalesce(s.last_used_at, s.created_at) DESC, s.rowid DESC LIMIT $most",
                parent=parent_state_id,
                most=limit,
            )
        return [Recipe(state_id=i, image_id=image, step=orjson.loads(r)) for i, image, r in rows]

    def touch(self, state_id: str, used_at: Timestamp) -> None:
        """Record a use: set ``last_used_at``, count one more."""
        with self._database.writing() as session:
            session.execute(
                "UPDATE states SET last_used_at = ?, use_count = use_count + 1 WHERE state_id = ?",
                (used_at, state_id),
            )

    def set_durable(self, state_ids: Iterable[str]) -> None:
        """Record that the files of these states have reached the disk; not of damaged ones."""
        ids = list(state_ids)
        with self._database.writing() as session:
            session.execute_many(
                "UPDATE states SET boot_id = NULL WHERE state_id = ? AND boot_id <> ?",
                [(each, DAMAGED) for each in ids],
            )
        self._relabel(ids)

    def set_proven(self, state_id: str) -> None:
        """Record that an instance of a state has started and let its user in."""
        with self._database.writing() as session:
            session.execute("UPDATE states SET proven = 1 WHERE state_id = ?", (state_id,))
        self._relabel([state_id])

    def set_damaged(self, state_id: str) -> None:
        """Record that the files of a state are of no use; see ``StateStore.set_damaged``."""
        with self._database.writing() as session:
            session.execute(
                "UPDATE states SET boot_id = ?, proven = 0 WHERE state_id = ?", (DAMAGED, state_id)
            )
        self._relabel([state_id])

    def set_gone(self, state_id: str) -> None:
        """Record that a state has no files any more; see ``StateStore.set_gone``."""
        self._database.freeing(
            lambda session: session.execute(
                "UPDATE states SET boot_id = ?, size_bytes = 0 WHERE state_id = ?",
                (DAMAGED, state_id),
            )
        )
        self._relabel([state_id])

    def undurable(self) -> list[State]:
        """Return the states whose files may not have reached the disk."""
        with self._database.reading() as session:
            rows = session.rows(_STATES.select("s.boot_id IS NOT NULL"))
        return _STATES.records(rows)

    def _relabel(self, state_ids: Iterable[str]) -> None:
        for state in filter(None, map(self.get, state_ids)):
            self._watcher.kept(state)

    def remove(self, state_id: str) -> bool:
        """Delete a state's row and say whether it was there.

        Raises Conflict while an instance or a child state refers to it.
        """
        removed = self._database.freeing(lambda session: remove(session, state_id))
        self._watcher.gone(State, state_id)
        return removed


_REFERENCES = {
    "instance": "SELECT instance_id FROM instances WHERE state_id = $state_id LIMIT 1",
    "state": "SELECT state_id FROM states WHERE parent_state_id = $state_id LIMIT 1",
}


def _where(filter: StateFilter) -> Where:
    where = Where("s").equal(
        prepare_kind=filter.prepare_kind,
        image_id=filter.image_id,
        parent_state_id=filter.parent_state_id,
    )
    return where.prefix("state_id", filter.id_prefix)


def remove(session: Session, state_id: str) -> bool:
    """Delete a state's row; see ``States.remove``."""
    for kind, query in _REFERENCES.items():
        referrer = session.row(query, state_id=state_id)
        if referrer is not None:
            raise Conflict("the state is in use", f"{kind} {referrer} refers to {state_id}")
    return bool(session.execute("DELETE FROM states WHERE state_id = ?", (state_id,)))


def exists(session: Session, state_id: str) -> bool:
    """Return whether the state has a row."""
    found = session.row("SELECT 1 FROM states WHERE state_id = $state_id", state_id=state_id)
    return found is not None
