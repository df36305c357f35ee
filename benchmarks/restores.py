"""A custom dump of a database of 1 GB: restored by the engine, beside pg_restore by hand.

Both restore with the same programs, as many jobs and the same settings of the server.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlrs_engine.host.memory import ProcMemory
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.prepare.dump.loading import loading_settings

from .daemon import Daemon, scratch
from .inputs import inputs
from .measure import Timing
from .rivals import SETTINGS, own_cluster
from .session import Session

TO_BY_HAND = 1.2
NAME = "pgbench 1 GB"


def measure(session: Session) -> Iterator[Timing]:
    """Restore in turn, so that both meet the same machine."""
    if not (session.distribution.bin_dir / "pg_restore").is_file():
        print("note: no restores measured: there is no pg_restore")
        return
    for where, parent in session.stores.items():
        by_hand = Timing("pg_restore by hand", where, database=NAME, task="restore", is_rival=True)
        own = Timing("restore of a custom dump", where, database=NAME, task="restore")
        with (
            scratch(parent) as directory,
            Daemon(directory, directory / "store") as engine,
            engine.without_pool(),
        ):
            dump = _dump(session, engine, directory)
            for number in range(session.cold_runs):
                by_hand.samples.append(_by_hand(session, dump, parent))
                job = engine.prepare(_request(session, dump, f"SELECT {number}"))
                own.samples.append(_step_ms(engine, job))
                engine.delete(f"/v1/instances/{job['result']['instance_id']}")
        yield from (by_hand, own)
        yield Timing(
            "restore of a custom dump, to pg_restore by hand",
            where,
            TO_BY_HAND,
            unit="times",
            database=NAME,
            samples=[own.p50 / by_hand.p50],
        )


def _dump(session: Session, engine: Daemon, directory: Path) -> Path:
    (what,) = inputs(["pgbench"], None, directory)
    made = engine.prepare(what.request(session.image))["result"]
    dump = directory / "pgbench.dump"
    program = session.distribution.bin_dir / "pg_dump"
    subprocess.run([program, "-Fc", "-f", dump, made["dsn"]], check=True)
    engine.delete(f"/v1/instances/{made['instance_id']}")
    return dump


def _request(session: Session, dump: Path, nonce: str) -> dict[str, Any]:
    """Return a request for a state that does not exist yet."""
    return {
        "prepare_kind": "chain",
        "image_id": session.image,
        "stages": [
            {"kind": "psql", "psql_args": ["-c", nonce]},
            {"kind": "dump", "path": str(dump)},
        ],
    }


def _step_ms(engine: Daemon, job: dict[str, Any]) -> float:
    """Return how long the last step took: start of the server, restore, stop."""
    events = engine.http.get(f"/v1/prepare-jobs/{job['job_id']}/events").iter_lines()
    tasks = (json.loads(line) for line in events if '"execute-1"' in line)
    times = [datetime.fromisoformat(each["ts"]) for each in tasks]
    return (times[-1] - times[0]).total_seconds() * 1000


def _by_hand(session: Session, dump: Path, parent: Path) -> float:
    """Restore into an empty cluster; return the milliseconds, the server's stop included."""
    settings = loading_settings(ProcMemory().machine())
    settings |= {"shared_buffers": "128MB", "max_wal_size": "1GB"}
    with own_cluster(session.distribution, SETTINGS | settings, parent) as cluster:
        begun = time.perf_counter()
        _pg_restore(cluster, dump)
        cluster.stop("fast")
        return (time.perf_counter() - begun) * 1000


def _pg_restore(cluster: Cluster, dump: Path) -> None:
    jobs = str(len(os.sched_getaffinity(0)))
    arguments = ["--jobs", jobs, "--dbname", "postgres", str(dump)]
    process = cluster.client("pg_restore", arguments, port=None)
    if process.wait() != 0:
        raise RuntimeError("pg_restore failed")
