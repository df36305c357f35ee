"""The events of jobs: seen at once, stored in batches, never lost, never too late."""

import json
import threading

import pytest
from support import store_samples as samples
from support.waiting import eventually

from sqlrs_engine.clock import utc_now
from sqlrs_engine.errors import StorageFull
from sqlrs_engine.prepare.jobs import events as events_module
from sqlrs_engine.prepare.jobs.end import End
from sqlrs_engine.prepare.jobs.events import Batch, EventLog
from sqlrs_engine.store.sqlite import SqliteStore

JOB = samples.job().job_id


class Jobs:
    """The rows of jobs, counting and failing as told."""

    def __init__(self, real):
        self.real = real
        self.batches = []
        self.full = False

    def __getattr__(self, name):
        return getattr(self.real, name)

    def append_events(self, job_id, first, lines):
        self.check()
        self.real.append_events(job_id, first, lines)
        self.batches.append(len(lines))

    def finish(self, *args, **fields):
        self.check()
        return self.real.finish(*args, **fields)

    def check(self):
        if self.full:
            raise StorageFull("the disk is full")


@pytest.fixture
def jobs(tmp_path):
    store = SqliteStore(tmp_path / "state.db")
    store.jobs.add(samples.job())
    yield Jobs(store.jobs)
    store.close()


@pytest.fixture
def log(jobs):
    log = EventLog(jobs, utc_now)
    log.open(JOB)
    yield log
    log.stop()


def messages(log, start=0):
    found = []
    while lines := log.read(JOB, start + len(found)).lines:
        found += [json.loads(line) for line in lines]
    return [event.get("message", event.get("status", event["type"])) for event in found]


def finish(log, jobs, status, **outcome):
    return End(status, **outcome).store(JOB, jobs, log, utc_now)


def test_an_event_is_seen_at_once(log):
    log.append(JOB, "log", message="hello", status=None)
    (line,) = log.read(JOB, 0).lines
    event = json.loads(line)
    assert (event["type"], event["message"], set(event)) == (
        "log",
        "hello",
        {"type", "ts", "message"},
    )
    assert log.read(JOB, 1) == Batch([], "open")


def test_bursts_are_stored_in_batches(log, jobs):
    for number in range(500):
        log.append(JOB, "log", message=str(number))
    eventually(lambda: jobs.event_count(JOB) == 500)
    assert len(jobs.batches) < 50
    assert messages(log) == [str(number) for number in range(500)]


def test_events_can_be_read_from_any_index(log, jobs):
    for number in range(5):
        log.append(JOB, "log", message=str(number))
    eventually(lambda: jobs.event_count(JOB) == 5)
    log.append(JOB, "log", message="5")
    assert messages(log, 3) == ["3", "4", "5"]
    assert messages(log, 6) == []


def test_replies_are_limited(log, monkeypatch):
    monkeypatch.setattr(events_module, "READ_LIMIT", 2)
    for number in range(5):
        log.append(JOB, "log", message=str(number))
    assert len(log.read(JOB, 0).lines) <= 2
    assert messages(log) == ["0", "1", "2", "3", "4"]


def test_the_end_is_stored_with_what_comes_before_it(log, jobs):
    log.append(JOB, "log", message="before")
    job = finish(log, jobs, "succeeded", result={"dsn": "x"})
    assert (job.status, job.result) == ("succeeded", {"dsn": "x"})
    assert messages(log) == ["before", "succeeded", "result"]
    assert jobs.event_count(JOB) == 3
    log.append(JOB, "log", message="too late")
    assert len(messages(log)) == 3


def test_a_failure_ends_with_its_error(log, jobs):
    finish(log, jobs, "failed", error={"code": "x", "message": "y"})
    assert messages(log) == ["failed", "error"]


def test_nobody_sees_the_end_before_the_row_is_terminal(log, jobs):
    """The Go engine's streams may end before the last events."""
    seen, done = [], threading.Event()

    def read():
        position = 0
        while True:
            batch = log.read(JOB, position)
            for line in batch.lines:
                position += 1
                if json.loads(line).get("status") == "succeeded":
                    seen.append(jobs.get(JOB).status)
            if batch.state == "ended":
                done.set()
                return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        log.append(JOB, "log", message=str(number))
    finish(log, jobs, "succeeded", result={})
    for thread in threads:
        thread.join()
    # Each reader has seen the last event by the time it was told that there is no more.
    assert seen == ["succeeded"] * 4


def test_nothing_is_lost_between_memory_and_store(log, jobs):
    """Readers and writers at full speed: every line once, in order."""
    results = {}

    def read(name):
        got = []
        while True:
            batch = log.read(JOB, len(got))
            got += batch.lines
            if batch == Batch([], "ended"):
                results[name] = [json.loads(line) for line in got]
                return

    def write(name):
        for number in range(150):
            log.append(JOB, "log", message=f"{name} {number}")

    readers = [threading.Thread(target=read, args=(n,)) for n in range(3)]
    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    finish(log, jobs, "succeeded", result={})
    for thread in readers:
        thread.join()
    assert results[0] == results[1] == results[2]
    lines = [event["message"] for event in results[0] if event["type"] == "log"]
    assert len(lines) == 600
    for name in range(4):
        own = [line for line in lines if line.startswith(f"{name} ")]
        assert own == [f"{name} {number}" for number in range(150)]


def test_followers_are_called_after_each_change(log, jobs):
    calls = []
    end = log.subscribe(JOB, lambda: calls.append(1))
    other = log.subscribe(JOB, lambda: None)
    assert log.followed(JOB)
    log.append(JOB, "log", message="x")
    assert len(calls) == 1
    finish(log, jobs, "succeeded", result={})
    assert len(calls) == 2
    end()
    assert log.followed(JOB)
    other()
    assert not log.followed(JOB)
    log.append(JOB, "log", message="x")
    assert len(calls) == 2


def test_a_full_disk_keeps_events_in_memory(log, jobs, monkeypatch, caplog):
    monkeypatch.setattr(events_module, "RETRY_SECONDS", 0.01)
    jobs.full = True
    log.append(JOB, "log", message="kept")
    eventually(lambda: "wait to be stored" in caplog.text)
    with pytest.raises(StorageFull):
        finish(log, jobs, "succeeded", result={})
    assert messages(log) == ["kept"]
    assert log.read(JOB, 0).state == "open"
    log.append(JOB, "log", message="more")
    jobs.full = False
    eventually(lambda: jobs.event_count(JOB) == 2)
    finish(log, jobs, "succeeded", result={})
    assert messages(log) == ["kept", "more", "succeeded", "result"]


def test_the_end_may_fail_after_the_lines_are_stored(log, jobs, monkeypatch):
    log.append(JOB, "log", message="stored")
    monkeypatch.setattr(jobs.real, "finish", lambda *_, **__: jobs.check())
    eventually(lambda: jobs.event_count(JOB) == 1)
    jobs.full = True
    with pytest.raises(StorageFull):
        finish(log, jobs, "failed", error={})
    jobs.full = False
    monkeypatch.undo()
    finish(log, jobs, "failed", error={"code": "x"})
    assert messages(log) == ["stored", "failed", "error"]


def test_a_log_continues_after_a_restart(log, jobs):
    log.append(JOB, "log", message="before")
    log.stop()
    assert jobs.event_count(JOB) == 1
    following = EventLog(jobs, utc_now)
    following.open(JOB)
    following.open(JOB)  # harmless
    following.append(JOB, "log", message="after")
    assert messages(following) == ["before", "after"]
    finish(following, jobs, "succeeded", result={})
    assert messages(following) == ["before", "after", "succeeded", "result"]
    following.stop()


def test_a_stop_ends_all_readers(log):
    calls = []
    log.subscribe(JOB, lambda: calls.append(1))
    assert log.read(JOB, 0).state == "open"
    log.stop()
    assert calls
    assert log.read(JOB, 0).state == "suspended"


def test_a_follower_of_a_deleted_job_reads_its_events_to_the_end(log, jobs):
    end = log.subscribe(JOB, lambda: None)
    finish(log, jobs, "succeeded", result={})
    log.keep(JOB)
    jobs.remove(JOB)
    assert messages(log) == ["succeeded", "result"]
    assert messages(log, 1) == ["result"]
    assert log.read(JOB, 2) == Batch([], "ended")
    end()
    log.keep(JOB)  # nobody follows it
    assert messages(log) == []


def test_a_job_that_is_gone_is_over(log):
    log.close(JOB)
    assert log.read(JOB, 0).state == "open"  # it will be resumed
    assert log.read("f" * 32, 0) == Batch([], "ended")


def test_what_cannot_be_stored_of_one_job_does_not_hold_up_another(jobs, monkeypatch, caplog):
    other = samples.job(2)
    jobs.real.add(other)
    real = jobs.append_events

    def append_events(job_id, first, lines):
        if job_id == JOB:
            raise ValueError("broken")
        real(job_id, first, lines)

    monkeypatch.setattr(jobs, "append_events", append_events)
    monkeypatch.setattr(events_module, "RETRY_SECONDS", 0.01)
    log = EventLog(jobs, utc_now)
    for job_id in (JOB, other.job_id):
        log.open(job_id)
        log.append(job_id, "log", message="hello")
    eventually(lambda: jobs.event_count(other.job_id) == 1)
    assert "cannot be stored" in caplog.text
    log.stop()


def test_a_flood_is_stored_by_who_appends_in_few_transactions(jobs, log, monkeypatch):
    monkeypatch.setattr(events_module, "BACKLOG_BYTES", 64 * 1024)
    monkeypatch.setattr(events_module, "BATCH_SECONDS", 60)  # the writer's thread is of no help
    line = "x" * 100
    for number in range(10_000):
        log.append(JOB, "log", message=f"{number} {line}")
    held = 10_000 - jobs.event_count(JOB)
    assert held * 100 < 64 * 1024, "what is not stored yet is in memory"
    assert len(jobs.batches) < 50
    assert [m.split()[0] for m in messages(log)] == [str(number) for number in range(10_000)]


def test_a_flood_is_kept_in_memory_while_nothing_can_be_stored(jobs, log, monkeypatch):
    monkeypatch.setattr(events_module, "BACKLOG_BYTES", 1024)
    jobs.full = True
    for number in range(100):
        log.append(JOB, "log", message=f"{number} {'x' * 100}")
    jobs.full = False
    log.append(JOB, "log", message="last")
    assert len(messages(log)) == 101
