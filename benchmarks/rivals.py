"""The usual ways to a fresh test database, on the same binaries, settings and machine."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.postgres.settings import SUPERUSER

from .inputs import ROOT, Input
from .measure import Timing
from .session import FIRST, FRESH, Session

SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
PORT = 5432  # names the socket; nothing listens on TCP
TEMPLATE = "template_for_tests"


@contextmanager
def own_cluster(
    distribution: Distribution, settings: Mapping[str, Any] = SETTINGS, parent: Path | None = None
) -> Iterator[Cluster]:
    """An initialised, running cluster on ``parent``'s filesystem, gone afterwards."""
    os_user = OsUser.for_engine(None)
    directory = Path(tempfile.mkdtemp(prefix="sqlrs-benchmark-rival-", dir=parent))
    if os_user:
        shutil.chown(directory, os_user.uid, os_user.gid)
    cluster = Cluster(
        distribution, directory / "data", os_user=os_user, log_file=directory / "postgres.log"
    )
    try:
        cluster.initdb(lambda line: None)
        cluster.start(port=None, settings=settings)
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(directory)


def _psql(cluster: Cluster, what: Input, database: str) -> None:
    process = cluster.client(
        "psql",
        ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *what.arguments],
        port=PORT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    process.communicate(timeout=300)
    if process.returncode:
        raise RuntimeError(f"psql ended with {process.returncode}")


def measure(session: Session) -> Iterator[Timing]:
    """Measure each rival with each input."""
    for what in session.inputs:
        yield _from_scratch(session, what)
        with own_cluster(session.distribution) as cluster, cluster.connect(PORT) as admin:
            admin.execute(f"CREATE DATABASE {TEMPLATE}")
            _psql(cluster, what, TEMPLATE)
            runs = session.runs_of(what)
            timing = Timing(
                "CREATE DATABASE … TEMPLATE",
                "one cluster",
                database=what.name,
                task=FRESH,
                is_rival=True,
            )
            for _ in range(runs):
                with timing.sample():
                    admin.execute(f"CREATE DATABASE one_test TEMPLATE {TEMPLATE}")
                    with cluster.connect(PORT, dbname="one_test") as connection:
                        connection.execute("SELECT 1").fetchone()
                admin.execute("DROP DATABASE one_test WITH (FORCE)")
            yield timing
            if find_spec("pytest_postgresql") is None:
                print("note: no pytest-postgresql here (pip install --group bench)")
            else:
                psql = session.distribution.bin_dir / "psql"
                yield _pytest_postgresql(cluster, psql, what, runs)


def _from_scratch(session: Session, what: Input) -> Timing:
    """A new cluster for every test: initdb, start, run the scripts, SELECT 1."""
    timing = Timing("initdb + psql", "new cluster", database=what.name, task=FIRST, is_rival=True)
    for _ in range(1 if what.is_large else session.cold_runs):
        start = time.perf_counter()
        with own_cluster(session.distribution) as cluster:
            _psql(cluster, what, "postgres")
            with cluster.connect(PORT) as connection:
                connection.execute("SELECT 1").fetchone()
            timing.samples.append((time.perf_counter() - start) * 1000)
    return timing


def _pytest_postgresql(cluster: Cluster, psql: Path, what: Input, runs: int) -> Timing:
    """Time the plugin's own fixture in a run of pytest of its own.

    It is given our server, on the same settings: as root it could not start one.
    """
    timing = Timing(
        "pytest-postgresql's template", "one cluster", database=what.name, task=FRESH, is_rival=True
    )
    with tempfile.TemporaryDirectory() as directory:
        samples = Path(directory) / "samples.json"
        told = {
            "host": str(cluster.data_dir),
            "port": PORT,
            "user": SUPERUSER,
            "psql": [str(psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", *what.arguments],
            "cwd": str(ROOT),
            "runs": runs,
            "samples": str(samples),
        }
        command = [sys.executable, "-m", "pytest", "-q", "-p", "pytest_postgresql.plugin"]
        command += ["-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={directory}"]
        done = subprocess.run(
            [*command, str(Path(__file__).with_name("pytest_rival.py"))],
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "RIVAL": json.dumps(told)},
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the run of pytest-postgresql failed:\n{done.stdout}{done.stderr}")
        timing.samples = json.loads(samples.read_text())
    return timing
