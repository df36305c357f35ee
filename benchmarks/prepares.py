"""From a POST to a database that answers: first, cached, of all sizes, on all filesystems."""

import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg

from sqlrs_engine.statefs.probe import choose_backend

from .daemon import Daemon, Engine, scratch
from .inputs import Input
from .measure import Timing
from .session import DELETE, FIRST, FRESH, Session

WARM_MS = 15.0
COLD_COW_MS = 100.0
DELETE_MS = 30.0
FIRST_CHINOOK_MS = 2500.0
IDLE_MIB = 8.0
COLD = "cached prepare → SELECT 1, in a row"
# Time in which an engine may get ready for the next one.
PAUSE, PAUSED_RUNS = 1.0, 10
# The cached prepare of a 1 GB state against that of an empty one: within 20 %.
LARGE_TO_EMPTY = 1.2


def select_one(dsn: str) -> None:
    """Connect and run one query: the proof that a database is usable."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT 1").fetchone()


def measure(session: Session) -> Iterator[Timing]:
    """Measure every input on every store, and on the rival engine."""
    for where, parent in session.stores.items():
        shares = choose_backend(parent, "auto").copy_on_write
        with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
            medians = {}
            for what in session.inputs:
                for timing in _prepares(engine, where, what, session):
                    if timing.work == COLD:
                        # Without copy-on-write there is no promise: a clone is a copy.
                        timing.target = COLD_COW_MS if shares else None
                        medians[what] = timing.p50
                    yield timing
            yield from _large_to_empty(where, medians, shares=shares)
            yield _idle(engine, where, session)
        if session.chinook is not None:
            yield _first_of_chinook(session, where)
    if session.rival is not None:
        for what in session.inputs:
            for timing in _prepares(session.rival, "its own store", what, session):
                timing.is_rival, timing.target = True, None
                timing.work = f"rival engine: {timing.work}"
                yield timing


def _prepares(engine: Engine, where: str, what: Input, session: Session) -> Iterator[Timing]:
    request = what.request(session.image)
    first = Timing("first prepare → SELECT 1", where, database=what.name, task=FIRST)
    with first.sample():
        result = engine.prepare(request)["result"]
        select_one(result["dsn"])
    engine.delete(f"/v1/instances/{result['instance_id']}")
    yield first
    runs = session.runs_of(what)
    with engine.without_pool():
        yield from _cached(engine, where, what, request, runs)
    warm, _ = _cached(engine, where, what, request, min(runs, PAUSED_RUNS), pause=PAUSE)
    warm.work, warm.target = "cached prepare → SELECT 1, one at a time", WARM_MS
    yield warm


def _cached(
    engine: Engine,
    where: str,
    what: Input,
    request: dict[str, Any],
    runs: int,
    *,
    pause: float = 0.0,
) -> tuple[Timing, Timing]:
    """Measure cached prepares and their deletions, with ``pause`` seconds before each."""
    cached = Timing(COLD, where, database=what.name, task=FRESH)
    deleted = Timing(DELETE, where, database=what.name, task=DELETE, target=DELETE_MS)
    for _ in range(runs):
        time.sleep(pause)
        with cached.sample():
            result = engine.prepare(request)["result"]
            select_one(result["dsn"])
        with deleted.sample():
            engine.delete(f"/v1/instances/{result['instance_id']}")
    return cached, deleted


def _large_to_empty(where: str, medians: dict[Input, float], *, shares: bool) -> Iterator[Timing]:
    empty = [median for what, median in medians.items() if what.name == "empty"]
    for what, median in medians.items():
        if what.is_large and empty:
            yield Timing(
                "cached prepare, to that of an empty database",
                where,
                database=what.name,
                unit="times",
                target=LARGE_TO_EMPTY if shares else None,
                samples=[median / empty[0]],
            )


def _idle(engine: Engine, where: str, session: Session) -> Timing:
    """Measure what an instance's processes hold that nobody else does, and their shares."""
    timing = Timing("idle instance, memory (PSS)", where, target=IDLE_MIB, unit="MiB")
    for _ in range(session.cold_runs):
        result = engine.prepare(Input("", ("-c", "SELECT 1")).request(session.image))["result"]
        path = f"/v1/instances/{result['instance_id']}"
        select_one(result["dsn"])
        time.sleep(1)  # what start and first connection leave behind ends meanwhile
        entry = engine.http.get(path).json()
        postmaster = psutil.Process(int(entry["runtime_id"].partition(".")[0]))
        processes = [postmaster, *postmaster.children()]
        timing.samples.append(sum(p.memory_full_info().pss for p in processes) / 2**20)
        engine.delete(path)
    return timing


def _first_of_chinook(session: Session, where: str) -> Timing:
    """Measure a first prepare with nothing cached, not even the initialised cluster."""
    timing = Timing(
        "first prepare, empty store",
        where,
        database="Chinook",
        task=FIRST,
        target=FIRST_CHINOOK_MS,
    )
    request = Input("Chinook", ("-f", str(session.chinook))).request(session.image)
    for _ in range(session.cold_runs):
        with (
            scratch(session.stores[where]) as directory,
            Daemon(directory, directory / "store") as engine,
            timing.sample(),
        ):
            select_one(engine.prepare(request)["result"]["dsn"])
    return timing
