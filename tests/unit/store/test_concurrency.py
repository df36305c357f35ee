import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.store_samples import NOON, at, instance, job, name, state, task

from sqlrs_engine.errors import Conflict, NotFound, StorageFull, Unavailable
from sqlrs_engine.store import InstanceFilter, StateFilter
from sqlrs_engine.store.sqlite import SqliteStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path)
    yield store
    store.close()


def together(*calls: Callable[[], object]) -> None:
    """Run calls in threads that start at the same time; raise what any of them raises."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> None:
        barrier.wait()
        call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for future in [pool.submit(run, call) for call in calls]:
            future.result()


def open_files(path: Path) -> int:
    links = Path("/proc/self/fd")
    targets = (link.readlink() for link in links.iterdir() if link.is_symlink())
    return sum(target == path for target in targets)


def test_many_readers_and_writers_work_together(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    store.states.add(state(1))

    def write_events(writer: int) -> None:
        mine = job(10 + writer)
        store.jobs.add(mine)
        for first in range(0, 100, 10):
            store.jobs.append_events(mine.job_id, first, [b"{}"] * 10)
        store.jobs.finish(mine.job_id, "succeeded", at(1))

    def use_state() -> None:
        for _ in range(25):
            store.states.touch(state(1).state_id, NOON)
            store.jobs.update(job(1).job_id, status="running")

    def read() -> None:
        for _ in range(50):
            store.jobs.find()
            store.states.find(StateFilter())
            store.jobs.events(job(10).job_id, 0, 1000)

    together(*(lambda n=n: write_events(n) for n in range(3)), *[use_state] * 3, *[read] * 4)

    used = store.states.get(state(1).state_id)
    assert used is not None
    assert used.use_count == 75
    assert [store.jobs.event_count(job(10 + n).job_id) for n in range(3)] == [100] * 3


def test_one_of_many_instances_gets_the_port(store: SqliteStore) -> None:
    store.states.add(state(1))
    refused: list[Conflict] = []

    def take(number: int) -> None:
        try:
            store.instances.add(instance(number, port=20000))
        except Conflict as error:
            refused.append(error)

    together(*(lambda n=n: take(n) for n in range(6)))

    assert len(store.instances.find(InstanceFilter())) == 1
    assert len(refused) == 5


def test_a_state_is_either_removed_or_used(store: SqliteStore) -> None:
    for number in range(1, 11):
        store.states.add(state(number))
        outcome: list[str] = []

        def remove(number: int = number, outcome: list[str] = outcome) -> None:
            try:
                store.states.remove(state(number).state_id)
                outcome.append("removed")
            except Conflict:
                outcome.append("kept")

        def use(number: int = number) -> None:
            try:
                store.instances.add(instance(number, state_id=state(number).state_id))
            except NotFound:
                assert store.states.get(state(number).state_id) is None

        together(remove, use)

        used = bool(store.instances.find(InstanceFilter(state_id=state(number).state_id)))
        assert outcome == ["kept" if used else "removed"]


def test_a_job_finishes_once_however_many_threads_end_it(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    store.jobs.put_tasks(job(1).job_id, [task(0, status="running")])

    together(
        *(lambda n=n: store.jobs.finish(job(1).job_id, "failed", at(n)) for n in range(3)),
        *(lambda n=n: store.jobs.finish(job(1).job_id, "succeeded", at(n)) for n in range(3)),
    )

    finished = store.jobs.get(job(1).job_id)
    assert finished is not None
    assert [t.status for t in store.jobs.tasks()] == [finished.status]


def test_threads_that_end_leave_no_connection(store: SqliteStore, path: Path) -> None:
    # SQLite keeps the files of closed connections at hand for the next ones while the
    # database is open, so the count follows the most threads at once, not their sum.
    calls = [store.jobs.find, store.jobs.unfinished] * 2  # past Pony, and through it
    together(*calls)
    before = open_files(path)

    for _ in range(5):
        together(*calls)

    assert open_files(path) == before


def test_closing_closes_the_connections_of_living_threads(path: Path) -> None:
    store = SqliteStore(path)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(store.jobs.find).result()
        pool.submit(store.jobs.add, job(1)).result()
        store.close()
        store.close()

        assert open_files(path) == 0
        with pytest.raises(Unavailable, match="engine is stopping"):
            pool.submit(store.jobs.find).result()
    with pytest.raises(Unavailable, match="engine is stopping"):
        store.jobs.add(job(2))
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def test_closing_lets_a_call_in_progress_end(path: Path) -> None:
    store = SqliteStore(path)
    inside, proceed = threading.Event(), threading.Event()

    def write() -> None:
        with store.database.writing():
            inside.set()
            assert proceed.wait(30)
            store.database.entities.Name(name="a", image_id="i", state_id="s", bound_at=NOON)

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(write)
        assert inside.wait(30)
        closed = pool.submit(store.close)
        proceed.set()
        writing.result()
        closed.result()

    store = SqliteStore(path)
    assert store.names.get("a") is not None
    store.close()


def test_two_stores_live_side_by_side(tmp_path: Path) -> None:
    one, other = SqliteStore(tmp_path / "one.db"), SqliteStore(tmp_path / "other.db")
    one.jobs.add(job(1))

    assert one.jobs.find() != []
    assert other.jobs.find() == []

    one.close()
    other.jobs.add(job(2))
    other.close()


def test_two_stores_open_the_same_new_file(path: Path) -> None:
    stores: list[SqliteStore] = []
    together(*[lambda: stores.append(SqliteStore(path))] * 4)

    stores[0].jobs.add(job(1))

    for each in stores:
        assert len(each.jobs.find()) == 1
        each.close()


def test_another_process_holding_the_lock_is_waited_for_then_reported(path: Path) -> None:
    store = SqliteStore(path, busy_timeout=0.05)
    store.jobs.add(job(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(Unavailable, match="store is busy"):
            store.jobs.add(job(2))
        assert len(store.jobs.find()) == 1, "readers do not wait"

        other.execute("ROLLBACK")
    store.jobs.add(job(2))
    assert len(store.jobs.find()) == 2
    store.close()


def test_a_full_disk_is_reported_and_changes_nothing(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    with store.database.writing() as session:
        session.rows("PRAGMA max_page_count = 1")  # as many as there are already

    with pytest.raises(StorageFull, match="disk of the state store is full"):
        store.jobs.append_events(job(1).job_id, 0, [b"x" * 100_000] * 10)
    with pytest.raises(StorageFull, match="disk of the state store is full"):
        store.jobs.update(job(1).job_id, request={"stdin": "x" * 1_000_000})

    assert store.jobs.event_count(job(1).job_id) == 0
    assert store.jobs.get(job(1).job_id) == job(1)


def test_a_failing_transaction_is_undone_as_a_whole(store: SqliteStore) -> None:
    store.states.add(state(1))

    def rename() -> None:
        with store.database.writing():
            store.database.entities.State[state(1).state_id].image_id = "changed"
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        rename()

    assert store.states.find(StateFilter()) == [state(1)]
    store.names.put(name())  # the next transaction is not disturbed


def test_jobs_are_read_whole_while_others_are_deleted(store: SqliteStore) -> None:
    """A job is there or not: none is found and then gone before all of it was read."""
    jobs = [replace(job(number), idempotency_key=str(number)) for number in range(20)]
    reading = threading.Event()

    def renew() -> None:
        while not reading.is_set():
            for each in jobs:
                store.jobs.remove(each.job_id)
                store.jobs.add(each)

    def read() -> None:
        try:
            for _ in range(20):
                for each in jobs:
                    assert store.jobs.with_key(each.idempotency_key or "") in (None, each)
                assert all(each in jobs for each in store.jobs.unfinished())
        finally:
            reading.set()

    together(renew, read)
