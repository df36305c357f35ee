"""The usual ways to a fresh test database, on the same binaries, settings and machine."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distribution import Distribution
from sqlrs_engine.postgres.os_user import OsUser

from .inputs import Scripts
from .measure import Timing
from .workloads import CREATE_TEMPLATE, FROM_SCRATCH

SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
PORT = 5432  # names the socket; nothing listens on TCP


@contextmanager
def _cluster(distribution: Distribution) -> Iterator[Cluster]:
    """An initialised, running cluster, gone afterwards."""
    os_user = OsUser.for_engine(None)
    directory = Path(tempfile.mkdtemp(prefix="sqlrs-benchmark-rival-"))
    if os_user:
        shutil.chown(directory, os_user.uid, os_user.gid)
    cluster = Cluster(
        distribution, directory / "data", os_user=os_user, log_file=directory / "postgres.log"
    )
    try:
        cluster.initdb(lambda line: None)
        cluster.start(port=None, settings=SETTINGS)
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory)


def _psql(cluster: Cluster, scripts: Scripts, database: str) -> None:
    arguments = [word for file in scripts.files for word in ("-f", str(file))]
    process = cluster.client(
        "psql",
        ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *arguments],
        port=PORT,
        cwd=scripts.files[0].parent,
    )
    process.communicate(timeout=120)
    if process.returncode:
        raise RuntimeError(f"psql ended with {process.returncode}")


def from_scratch(distribution: Distribution, scripts: Scripts, runs: int) -> Timing:
    """A new cluster for every test: initdb, start, run the scripts, SELECT 1."""
    timing = Timing(FROM_SCRATCH, "rival")
    for _ in range(runs):
        start = time.perf_counter()
        with _cluster(distribution) as cluster:
            _psql(cluster, scripts, "postgres")
            with cluster.connect(PORT) as connection:
                connection.execute("SELECT 1").fetchone()
            timing.samples.append((time.perf_counter() - start) * 1000)
    return timing


def create_template(distribution: Distribution, scripts: Scripts, runs: int) -> Timing:
    """One running cluster, a copy of a prepared database for every test."""
    timing = Timing(CREATE_TEMPLATE, "rival")
    with _cluster(distribution) as cluster, cluster.connect(PORT) as admin:
        admin.execute("CREATE DATABASE template_for_tests")
        _psql(cluster, scripts, "template_for_tests")
        for _ in range(runs):
            with timing.sample():
                admin.execute("CREATE DATABASE one_test TEMPLATE template_for_tests")
                with cluster.connect(PORT, dbname="one_test") as connection:
                    connection.execute("SELECT 1").fetchone()
            admin.execute("DROP DATABASE one_test WITH (FORCE)")
    return timing
