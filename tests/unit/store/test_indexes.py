"""Every look-up finds its rows through an index, whether Pony writes its SQL or we do."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.store_samples import NOON, at, instance, job, name, state, task

from sqlrs_engine.store import InstanceFilter, NameFilter, StateFilter
from sqlrs_engine.store.sqlite import SqliteStore
from sqlrs_engine.store.sqlite.connections import Connection, Connections

STATE, INSTANCE, JOB = state(1).state_id, instance(1).instance_id, job(1).job_id

CALLS: dict[str, Callable[[SqliteStore], object]] = {
    "a state": lambda store: store.states.get(STATE),
    "states by prefix": lambda store: store.states.find(StateFilter(id_prefix="ab")),
    "states by parent": lambda store: store.states.find(StateFilter(parent_state_id=STATE)),
    "states by image": lambda store: store.states.find(StateFilter(image_id="x")),
    "recipes of a state": lambda store: store.states.recipes(STATE, 10),
    "recipes of an image": lambda store: store.states.recipes(None, 10),
    "undurable states": lambda store: store.states.undurable(),
    "totals of states": lambda store: store.states.totals(),
    "the removal of a state": lambda store: store.states.remove(state(2).state_id),
    "an instance": lambda store: store.instances.get(INSTANCE),
    "instances by prefix": lambda store: store.instances.find(InstanceFilter(id_prefix="ab")),
    "instances by state": lambda store: store.instances.find(InstanceFilter(state_id=STATE)),
    "an instance by its purpose": lambda store: store.instances.find(InstanceFilter(made_for="x")),
    "a new instance": lambda store: store.instances.add(instance(3, made_for="y")),
    "a change of an instance": lambda store: store.instances.update(INSTANCE, port=7),
    "ports": lambda store: store.instances.ports(),
    "a name": lambda store: store.names.get("demo"),
    "names by instance": lambda store: store.names.find(NameFilter(instance_id=INSTANCE)),
    "a bound name": lambda store: store.names.put(name("other")),
    "a job": lambda store: store.jobs.get(JOB),
    "a job by its key": lambda store: store.jobs.with_key("x"),
    "jobs by prefix": lambda store: list(store.jobs.find_json("ab", ("job_id",), ",")),
    "unfinished jobs": lambda store: store.jobs.unfinished(),
    "finished jobs of a signature": lambda store: store.jobs.finished_with("x"),
    "jobs that finished early": lambda store: store.jobs.finished_before(NOON, 10),
    "jobs beyond a number": lambda store: store.jobs.finished_beyond(5, 10),
    "the end of a job": lambda store: store.jobs.finish(JOB, "failed", at(9), events=[b"{}"]),
    "the tasks of a job": lambda store: store.jobs.tasks(JOB),
    "new tasks of a job": lambda store: store.jobs.put_tasks(JOB, [task(1)]),
    "a change of a task": lambda store: store.jobs.update_task(JOB, "execute-0", cached=True),
    "more events": lambda store: store.jobs.append_events(JOB, 5, [b"{}"]),
    "events": lambda store: store.jobs.events(JOB, 0, 10),
    "the number of events": lambda store: store.jobs.event_count(JOB),
    "a note": lambda store: store.meta.get("x"),
}

# Indexes that hold just the rows, or the columns, of the answer.
SCANNED = ("COVERING INDEX", "INDEX states_undurable", "INDEX jobs_unfinished")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list to which every statement of the store is added, its values filled in."""
    seen: list[str] = []
    add = Connections.add

    def traced(connections: Connections, connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(seen.append)
        add(connections, connection)

    monkeypatch.setattr(Connections, "add", traced)
    return seen


@pytest.fixture
def store(path: Path, statements: list[str]) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    for number in (1, 2):
        store.states.add(state(number), {"content": "x"})
    store.instances.add(instance(1))
    store.names.put(name())
    store.jobs.add(job(1))
    store.jobs.put_tasks(JOB, [task(0)])
    statements.clear()
    yield store
    store.close()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_lookup_uses_an_index(
    store: SqliteStore, path: Path, statements: list[str], call: Callable[[SqliteStore], object]
) -> None:
    call(store)

    lookups = [each for each in statements if each.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert lookups
    with closing(sqlite3.connect(path, factory=Connection)) as connection:
        for lookup in lookups:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {lookup}").fetchall()
            scans = [step for *_, step in plan if "SCAN" in step]
            assert [step for step in scans if not any(map(step.__contains__, SCANNED))] == [], (
                lookup
            )
