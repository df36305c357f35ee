import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.store_samples import at, job, task

from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store.records import JobStatus, Task
from sqlrs_engine.store.sqlite import SqliteStore

ID = job(1).job_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


# Jobs


def test_a_job_comes_back_as_it_was_added(store: SqliteStore) -> None:
    full = job(
        2,
        status="failed",
        request={"psql_args": None, "stdin": "ü\n\x00", "deep": [{"a": 1.5}]},
        plan_only=True,
        resolved_image_id="postgres@sha256:1",
        prepare_args_normalized="",
        signature="s",
        started_at=at(3),
        finished_at=at(4),
        result={"dsn": "x"},
        error={"code": "cancelled", "message": "m"},
    )
    store.jobs.add(job(1))
    store.jobs.add(full)

    assert store.jobs.get(ID) == job(1)
    assert store.jobs.get(full.job_id) == full


def test_a_job_is_found_by_its_clients_key(store: SqliteStore) -> None:
    keyed = job(1, idempotency_key="Key 1")
    for each in (keyed, job(2), job(3)):
        store.jobs.add(each)
    assert store.jobs.with_key("Key 1") == keyed
    assert store.jobs.with_key("key 1") is None


def test_a_missing_job_is_none(store: SqliteStore) -> None:
    assert store.jobs.get(ID) is None


def test_jobs_are_listed_oldest_first(store: SqliteStore) -> None:
    for number in (2, 1, 3):
        store.jobs.add(job(number))

    assert store.jobs.find() == [job(1), job(2), job(3)]


@pytest.mark.parametrize(
    ("prefix", "numbers"),
    [
        (None, [1, 2, 3]),
        ("", [1, 2, 3]),
        ("a", [1, 2]),
        ("ab", [1]),
        ("AB", [1]),
        ("a" * 32, [2]),
        ("a" * 33, []),
        ("%", []),
        ("_", []),
        ("b*", []),
        ("\U0010ffff", []),
    ],
)
def test_jobs_are_found_by_a_prefix_of_any_length(
    store: SqliteStore, prefix: str | None, numbers: list[int]
) -> None:
    store.jobs.add(job(1, job_id="ab" * 16))
    store.jobs.add(job(2, job_id="a" * 32))
    store.jobs.add(job(3, job_id="b" * 32))

    assert [j.created_at for j in store.jobs.find(prefix)] == [at(n) for n in numbers]


def test_an_update_of_a_job_changes_only_the_given_fields(store: SqliteStore) -> None:
    store.jobs.add(job(1, signature="s"))

    changed = store.jobs.update(ID, status="running", started_at=at(2), signature=None)

    assert changed == job(1, status="running", started_at=at(2))
    assert store.jobs.get(ID) == changed


def test_an_update_of_a_job_may_change_its_json(store: SqliteStore) -> None:
    store.jobs.add(job(1, result={"a": 1}))

    store.jobs.update(ID, request={"b": 2}, result=None, error={"c": [3]})

    assert store.jobs.get(ID) == job(1, request={"b": 2}, error={"c": [3]})


def test_an_update_of_a_missing_job_returns_none(store: SqliteStore) -> None:
    assert store.jobs.update(ID, status="running") is None


def test_an_update_of_a_job_refuses_unknown_fields(store: SqliteStore) -> None:
    store.jobs.add(job(1))

    with pytest.raises(TypeError, match="colour"):
        store.jobs.update(ID, colour="blue")


def test_an_unreadable_job_does_not_hide_the_others(store: SqliteStore) -> None:
    for number in (1, 2, 3):
        store.jobs.add(job(number))
    with store.database.writing():
        store.database.entities.Job[job(2).job_id].request = "{"
    assert store.jobs.unfinished() == [job(1), job(3)]
    assert store.jobs.unreadable() == [job(2).job_id]


def test_unfinished_jobs_come_with_their_requests(store: SqliteStore) -> None:
    for number, status in enumerate(("running", "succeeded", "failed", "queued"), start=1):
        store.jobs.add(job(number, status=status))

    assert store.jobs.unfinished() == [job(1, status="running"), job(4)]


def test_finished_jobs_of_a_signature_latest_first(store: SqliteStore) -> None:
    one = job(1, status="succeeded", signature="s", finished_at=at(30))
    two = job(2, status="failed", signature="s", finished_at=at(40))
    for each in (
        one,
        two,
        job(3, status="running", signature="s"),
        job(4, status="succeeded", signature="other", finished_at=at(50)),
        job(5, status="succeeded", finished_at=at(50)),
    ):
        store.jobs.add(each)

    assert store.jobs.finished_with("s") == [two.job_id, one.job_id]


def test_jobs_are_found_by_the_time_they_finished(store: SqliteStore) -> None:
    for number, finished_at in enumerate((at(30), at(10), None, at(20)), start=1):
        store.jobs.add(job(number, finished_at=finished_at))
    first, second, third = (job(number).job_id for number in (2, 4, 1))

    assert store.jobs.finished_before(at(30), 10) == [first, second]
    assert store.jobs.finished_before(at(30), 1) == [first]
    assert store.jobs.finished_beyond(1, 10) == [second, first]
    assert store.jobs.finished_beyond(0, 1) == [third]
    assert store.jobs.finished_beyond(3, 10) == []


# Finishing


@pytest.mark.parametrize(
    ("status", "outcome", "statuses"),
    [
        (
            "succeeded",
            {"result": {"dsn": "x"}},
            ["succeeded", "failed", "succeeded", "succeeded"],
        ),
        ("failed", {"error": {"code": "cancelled"}}, ["succeeded", "failed", "failed", "queued"]),
    ],
)
def test_finishing_settles_the_job_and_its_tasks(
    store: SqliteStore, status: JobStatus, outcome: dict[str, Any], statuses: list[str]
) -> None:
    store.jobs.add(job(1, status="running"))
    store.jobs.add(job(2, status="running"))
    before: list[JobStatus] = ["succeeded", "failed", "running", "queued"]
    store.jobs.put_tasks(ID, [task(n, status=s) for n, s in enumerate(before)])
    store.jobs.put_tasks(job(2).job_id, [task(0, job_id=job(2).job_id, status="running")])

    finished = store.jobs.finish(ID, status, at(9), **outcome)

    assert finished == job(1, status=status, finished_at=at(9), **outcome)
    assert store.jobs.get(ID) == finished
    assert [t.status for t in store.jobs.tasks(ID)] == statuses
    assert [t.status for t in store.jobs.tasks(job(2).job_id)] == ["running"]


def test_a_job_finishes_once(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    first = store.jobs.finish(ID, "failed", at(5), error={"code": "cancelled"})

    assert store.jobs.finish(ID, "succeeded", at(6), result={"dsn": "x"}) == first
    assert store.jobs.get(ID) == first


def test_a_job_that_is_gone_does_not_finish(store: SqliteStore) -> None:
    assert store.jobs.finish(ID, "succeeded", at(5)) is None


# Tasks


FULL_TASK = task(
    1,
    type="prepare_instance",
    status="running",
    planner_kind="psql",
    input_kind="state",
    input_id="i",
    image_id="im",
    resolved_image_id="rim",
    task_hash="h",
    output_state_id="o",
    cached=False,
    instance_mode="ephemeral",
    changeset_id="1",
    changeset_author="a",
    changeset_path="p",
    args_summary="-f x",
)


def test_tasks_come_back_in_the_order_of_their_positions(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    tasks: list[Task] = [FULL_TASK, task(0, cached=True), task(2)]
    store.jobs.put_tasks(ID, tasks)

    assert store.jobs.tasks(ID) == [task(0, cached=True), FULL_TASK, task(2)]


def test_putting_tasks_replaces_those_before(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    store.jobs.put_tasks(ID, [task(0), task(1)])
    store.jobs.put_tasks(ID, [task(0, task_id="plan", type="plan")])

    assert store.jobs.tasks(ID) == [task(0, task_id="plan", type="plan")]


def test_tasks_need_their_job(store: SqliteStore) -> None:
    with pytest.raises(NotFound, match="job not found"):
        store.jobs.put_tasks(ID, [task(0)])


def test_tasks_of_all_jobs_are_listed_by_job_and_position(store: SqliteStore) -> None:
    for number in (2, 1):
        store.jobs.add(job(number))
        both = [task(position, job_id=job(number).job_id) for position in (1, 0)]
        store.jobs.put_tasks(job(number).job_id, both)

    assert [(t.job_id[-1], t.position) for t in store.jobs.tasks()] == [
        ("1", 0),
        ("1", 1),
        ("2", 0),
        ("2", 1),
    ]
    assert store.jobs.tasks("f" * 32) == []


def test_a_task_is_updated(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    store.jobs.put_tasks(ID, [task(0), task(1)])

    store.jobs.update_task(ID, "execute-1", status="succeeded", cached=True)
    store.jobs.update_task(ID, "gone", status="succeeded")

    assert store.jobs.tasks(ID) == [task(0), task(1, status="succeeded", cached=True)]


# Events


def test_events_are_read_back_in_order_by_pages(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    lines = [b'{"n":%d}' % number for number in range(10)]
    store.jobs.append_events(ID, 0, lines[:4])
    store.jobs.append_events(ID, 4, lines[4:])
    store.jobs.append_events(ID, 10, [])

    assert store.jobs.event_count(ID) == 10
    assert store.jobs.events(ID, 0, 100) == lines
    assert store.jobs.events(ID, 3, 2) == lines[3:5]
    assert store.jobs.events(ID, 10, 5) == []


def test_an_event_may_be_long(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    line = b'{"message":"' + b"x" * 3_000_000 + b'"}'
    store.jobs.append_events(ID, 0, [line])

    assert store.jobs.events(ID, 0, 1) == [line]


def test_events_take_little_space_however_they_come(store: SqliteStore) -> None:
    """Batch by batch or all at once, small and large, read from any index."""
    store.jobs.add(job(1))
    lines = [b'{"type":"log","message":"psql: INSERT 0 %d"}' % number for number in range(5000)]
    lines[100] = b'{"message":"' + b"x" * 3_000_000 + b'"}'
    at = 0
    for size in (*[1] * 700, 50, 3000, *[3] * 400, 50):
        store.jobs.append_events(ID, at, lines[at : at + size])
        at += size

    assert at == store.jobs.event_count(ID) == 5000
    assert store.jobs.events(ID, 0, 10_000) == lines
    for start in (0, 1, 99, 100, 101, 255, 256, 699, 700, 2500, 4999):
        assert store.jobs.events(ID, start, 7) == lines[start : start + 7]
    with store.database.reading():
        blocks = [len(each.lines) for each in store.database.entities.EventBlock.select()]
    assert len(blocks) < 50
    assert sum(blocks) < sum(map(len, lines)) / 5


def test_the_file_shrinks_when_jobs_go(store: SqliteStore, tmp_path: Path) -> None:
    def pages() -> int:
        with store.database.reading_past_pony() as session:
            return int(session.row("PRAGMA page_count"))

    store.jobs.add(job(1))
    for number in range(4):
        store.jobs.append_events(
            ID, number, [random.Random(number).randbytes(4_000_000).hex().encode()]
        )
    before = pages()
    store.jobs.remove(ID)
    assert pages() < before / 4


def test_events_of_a_job_that_is_gone_are_ignored(store: SqliteStore) -> None:
    store.jobs.append_events(ID, 0, [b"{}"])

    assert store.jobs.event_count(ID) == 0


def test_a_batch_of_events_is_stored_whole_or_not_at_all(store: SqliteStore) -> None:
    store.jobs.add(job(1))
    store.jobs.append_events(ID, 0, [b"0", b"1"])

    with pytest.raises(Conflict):
        store.jobs.append_events(ID, 1, [b"again", b"2"])
    with pytest.raises(Conflict):
        store.jobs.append_events(ID, 0, [b"2", b"3"])

    assert store.jobs.events(ID, 0, 10) == [b"0", b"1"]


# Removing


def test_a_job_goes_with_its_tasks_and_events(store: SqliteStore) -> None:
    for number in (1, 2):
        store.jobs.add(job(number))
        store.jobs.put_tasks(job(number).job_id, [task(0, job_id=job(number).job_id)])
        store.jobs.append_events(job(number).job_id, 0, [b"{}"])

    assert store.jobs.remove(ID) is True
    assert store.jobs.remove(ID) is False

    assert store.jobs.find() == [job(2)]
    assert [t.job_id for t in store.jobs.tasks()] == [job(2).job_id]
    assert store.jobs.event_count(ID) == 0
    assert store.jobs.event_count(job(2).job_id) == 1
