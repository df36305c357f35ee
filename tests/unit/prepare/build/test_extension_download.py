"""A step that lacks an extension runs again, if the extension can be downloaded."""

import pytest

from sqlrs_engine.errors import (
    Cancelled,
    EngineError,
    ImageUnavailable,
    StepFailed,
    StorageFull,
    Unavailable,
)
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build.extension_download import with_extension
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation, job_cancelled

FACTS = {"extension": "pgcrypto", "install": 18}


class World:
    """Builds that fail as planned, and a place that has extensions."""

    def __init__(self, *failures: EngineError, offers: bool | EngineError = True) -> None:
        self.failures = list(failures)
        self.offers = offers
        self.asked: list[str] = []
        self.lines: list[str] = []
        self.builds = 0

    def build(self) -> None:
        self.builds += 1
        if self.failures:
            raise self.failures.pop(0)

    def fetch_extension(self, extension, distribution, work):
        self.asked.append(extension)
        if isinstance(self.offers, EngineError):
            raise self.offers
        return self.offers

    def run(self, tmp_path) -> None:
        used = Distribution(image_id="x", version="18.6", major=18, bin_dir=tmp_path)
        context = JobContext(cancellation=Cancellation(), log=self.lines.append)
        with_extension(self.build, self, used, context)


def lacking() -> StepFailed:
    return StepFailed("psql execution failed", "a.sql:1: ERROR\nadvice: …", facts=FACTS)


def test_a_step_that_succeeds_asks_for_nothing(tmp_path):
    world = World()
    world.run(tmp_path)
    assert (world.builds, world.asked, world.lines) == (1, [], [])


def test_a_step_that_lacks_an_extension_runs_again_with_it(tmp_path):
    world = World(lacking())
    world.run(tmp_path)
    assert (world.builds, world.asked) == (2, ["pgcrypto"])
    assert world.lines == ["running the step again"]


def test_it_runs_again_once_only(tmp_path):
    world = World(lacking(), lacking())
    with pytest.raises(StepFailed):
        world.run(tmp_path)
    assert world.builds == 2


@pytest.mark.parametrize(
    "failure",
    [
        StepFailed("psql execution failed", "a.sql:1: ERROR:  syntax error"),
        StorageFull("the disk is full"),
        ImageUnavailable("no PostgreSQL"),
    ],
    ids=lambda failure: failure.code,
)
def test_other_failures_stay_as_they_are(tmp_path, failure):
    world = World(failure)
    with pytest.raises(EngineError) as caught:
        world.run(tmp_path)
    assert caught.value is failure
    assert (world.builds, world.asked) == (1, [])


def test_a_step_whose_extension_cannot_be_downloaded_fails_as_ever(tmp_path):
    failure = lacking()
    with pytest.raises(StepFailed) as caught:
        World(failure, offers=False).run(tmp_path)
    assert caught.value is failure


@pytest.mark.parametrize("kind", [Unavailable, ImageUnavailable])
def test_a_failed_download_adds_its_reason_to_the_advice(tmp_path, kind):
    world = World(lacking(), offers=kind("pip cannot download it", "no route to host"))
    with pytest.raises(StepFailed) as caught:
        world.run(tmp_path)
    assert caught.value.details == (
        "a.sql:1: ERROR\nadvice: …\npip cannot download it: no route to host"
    )
    assert caught.value.facts == FACTS
    assert world.builds == 1


def test_a_cancelled_download_cancels_the_job(tmp_path):
    with pytest.raises(Cancelled):
        World(lacking(), offers=job_cancelled()).run(tmp_path)
