"""Programs that print: the first byte, a flood of lines, and the engine's memory meanwhile."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .daemon import Daemon, scratch
from .inputs import Input
from .measure import Timing
from .session import Session

LINES = 100_000
FIRST_BYTE_MS = 40.0
RUN_GROWTH_MIB = 32.0
PREPARE_GROWTH_MIB = 64.0


def measure(session: Session) -> Iterator[Timing]:
    """Measure runs of psql, then a prepare that prints a lot."""
    with (
        scratch(Path(tempfile.gettempdir())) as directory,
        Daemon(directory, directory / "store") as engine,
    ):
        request = Input("empty", ("-c", "SELECT 1")).request(session.image)
        instance = engine.prepare(request)["result"]["instance_id"]
        yield _first_byte(engine, instance, session.runs)
        yield _run_growth(engine, instance)
        yield from _prepare(engine, session)


def _first_byte(engine: Daemon, instance: str, runs: int) -> Timing:
    timing = Timing("run psql, first byte of output", "one instance", FIRST_BYTE_MS)
    body = {"instance_ref": instance, "kind": "psql", "args": ["-Atc", "SELECT 1"]}
    for _ in range(runs):
        with timing.sample(), engine.http.stream("POST", "/v1/runs", json=body) as lines:
            for line in lines.iter_lines():
                if '"stdout"' in line:
                    break
    return timing


def _run_growth(engine: Daemon, instance: str) -> Timing:
    before = engine.memory_mib()
    query = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
    body = {"instance_ref": instance, "kind": "psql", "args": ["-Atc", query]}
    with engine.http.stream("POST", "/v1/runs", json=body) as lines:
        for _ in lines.iter_raw():
            pass
    growth = max(0.0, engine.memory_mib() - before)
    return Timing(
        "engine's growth by 100 MB of a run's output",
        "one instance",
        RUN_GROWTH_MIB,
        "MiB",
        samples=[growth],
    )


def _prepare(engine: Daemon, session: Session) -> Iterator[Timing]:
    rate = Timing(
        f"prepare that prints {LINES:,} lines, followed", "one job", unit="lines/s", is_rate=True
    )
    growth = Timing("engine's growth by them, at most", "one job", PREPARE_GROWTH_MIB, "MiB")
    for number in range(session.cold_runs):
        before = most = engine.memory_mib()
        query = f"SELECT {number}, g, repeat('x', 80) FROM generate_series(1, {LINES}) g"
        request = Input("", ("-Atc", query)).request(session.image)
        start = time.perf_counter()
        job = engine.http.post("/v1/prepare-jobs", json=request).json()
        with engine.http.stream("GET", job["events_url"]) as events:
            for _ in events.iter_raw():
                most = max(most, engine.memory_mib())
        rate.samples.append(LINES / (time.perf_counter() - start))
        growth.samples.append(most - before)
    yield rate
    yield growth
