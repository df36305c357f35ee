"""Of identical jobs the latest few are kept, and those whose end nobody has seen."""

import pytest
from support import store_samples as samples

from sqlrs_engine.config import Config
from sqlrs_engine.prepare.jobs.retention import (
    MAX_AGE,
    MAX_FINISHED,
    MAX_IDENTICAL,
    UNREAD_SECONDS,
    Retention,
)
from sqlrs_engine.store.sqlite import SqliteStore


class Kept:
    """Finished jobs and the retention that retires them."""

    def __init__(self, root):
        self.store = SqliteStore(root / "state.db")
        self.config = Config(root / "config.json")
        self.keep(MAX_IDENTICAL, 2)
        self.keep(MAX_FINISHED, 0)
        self.keep(MAX_AGE, "0")
        self.followed = set()
        self.now = 1000.0
        self.retention = Retention(
            self.store.jobs,
            self.config,
            self.followed.__contains__,
            lambda: samples.at(13),
            monotonic=lambda: self.now,
        )

    def keep(self, path, limit):
        self.config.set(path, limit)

    def finish(self, number, signature="s", read=True):
        job = samples.job(
            number, status="succeeded", signature=signature, finished_at=samples.at(number)
        )
        self.store.jobs.add(job)
        self.retention.started(job.job_id)
        self.retention.finished(job)
        if read:
            self.retention.read(job)
        return job

    def numbers(self):
        return [int(job.job_id, 16) for job in self.store.jobs.find()]


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path)
    yield kept
    kept.store.close()


def test_the_latest_are_kept(kept):
    for number in range(1, 6):
        kept.finish(number)
    assert kept.numbers() == [4, 5]


def test_zero_keeps_all(kept):
    kept.keep(MAX_IDENTICAL, 0)
    for number in range(1, 6):
        kept.finish(number)
    assert kept.numbers() == [1, 2, 3, 4, 5]


def test_only_identical_jobs_count(kept):
    kept.keep(MAX_IDENTICAL, 1)
    kept.finish(1, "a")
    kept.finish(2, "b")
    kept.finish(3, None)
    kept.finish(4, None)
    kept.finish(5, "a")
    assert kept.numbers() == [2, 3, 4, 5]


def test_running_jobs_do_not_count(kept):
    kept.keep(MAX_IDENTICAL, 1)
    kept.store.jobs.add(samples.job(1, status="running", signature="s"))
    kept.finish(2)
    kept.finish(3)
    assert kept.numbers() == [1, 3]


def test_a_job_whose_end_no_client_has_read_is_kept_for_a_while(kept):
    jobs = [kept.finish(number, read=False) for number in range(1, 5)]
    assert kept.numbers() == [1, 2, 3, 4]
    kept.retention.read(jobs[0])
    assert kept.numbers() == [2, 3, 4]
    kept.retention.read(jobs[0])  # once more is harmless
    kept.now += UNREAD_SECONDS
    kept.finish(5)
    assert kept.numbers() == [4, 5]


def test_a_job_whose_events_are_followed_is_kept(kept):
    first = kept.finish(1)
    kept.followed.add(first.job_id)
    kept.finish(2)
    kept.finish(3)
    assert kept.numbers() == [1, 2, 3]
    kept.followed.clear()
    kept.finish(4)
    assert kept.numbers() == [3, 4]


def test_an_end_that_is_read_before_it_is_noted_is_read(kept):
    kept.keep(MAX_IDENTICAL, 1)
    job = samples.job(1, status="succeeded", signature="s", finished_at=samples.at(1))
    kept.store.jobs.add(job)
    kept.retention.started(job.job_id)
    kept.retention.read(job)
    kept.retention.finished(job)
    assert not kept.retention.is_unread(job.job_id)
    kept.finish(2)
    assert kept.numbers() == [2]


def test_a_running_job_is_not_forgotten_however_long_it_takes(kept):
    kept.keep(MAX_IDENTICAL, 1)
    job = samples.job(1, status="succeeded", signature="s", finished_at=samples.at(1))
    kept.retention.started(job.job_id)
    kept.now += 100 * UNREAD_SECONDS
    kept.store.jobs.add(job)
    kept.retention.finished(job)
    kept.finish(2)
    assert kept.numbers() == [1, 2]
    kept.retention.gone(job.job_id)
    assert not kept.retention.is_unread(job.job_id)


def test_jobs_with_inputs_of_their_own_are_retired_when_they_are_too_many(kept):
    kept.keep(MAX_FINISHED, 3)
    kept.store.jobs.add(samples.job(9, status="running"))
    for number in range(1, 6):
        kept.finish(number, signature=str(number))
    assert sorted(kept.numbers()) == [3, 4, 5, 9]
    unread = kept.finish(6, signature="6", read=False)
    followed = kept.finish(7, signature="7")
    kept.followed.add(followed.job_id)
    kept.keep(MAX_FINISHED, 1)
    kept.finish(8, signature="8")
    assert sorted(kept.numbers()) == [6, 7, 8, 9]
    kept.retention.read(unread)
    kept.followed.clear()
    kept.retention.retire_old()
    assert sorted(kept.numbers()) == [8, 9]


def test_jobs_are_retired_when_they_are_too_old(kept):
    for number in range(1, 5):
        kept.finish(number, signature=None)
    kept.keep(MAX_AGE, "10s")
    kept.retention.retire_old()
    assert kept.numbers() == [3, 4]
