"""What the engine is asked to do, and the promise for each."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from sqlrs_engine.clock import utc_now
from sqlrs_engine.store.records import State
from sqlrs_engine.store.sqlite import SqliteStore

from .daemon import Daemon, scratch
from .inputs import Scripts
from .measure import Timing

STORED_JOBS = 500
STORED_STATES = 1000

CREATE_TEMPLATE = "CREATE DATABASE … TEMPLATE"
FROM_SCRATCH = "initdb + psql"


def select_one(dsn: str) -> None:
    """Connect and run one query: the proof that a database is usable."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT 1").fetchone()


@contextmanager
def _engine(parent: Path) -> Iterator[Daemon]:
    """An engine of its own with an empty store on ``parent``'s filesystem."""
    with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
        yield engine


def on_store(
    parent: Path, where: str, *, scripts: Scripts, image: str, runs: int
) -> Iterator[Timing]:
    """Measure one engine with its store on ``parent``'s filesystem."""
    cached_target = 250.0 if where.startswith(("ext4", "copy")) else 120.0
    with _engine(parent) as engine:
        request = scripts.request(image)
        first = Timing(f"first prepare of {scripts.name}", where, rival=FROM_SCRATCH)
        with first.sample():
            select_one(engine.prepare(request)["result"]["dsn"])
        yield first

        cached = Timing(
            "cached prepare → SELECT 1", where, target=cached_target, rival=CREATE_TEMPLATE
        )
        deleted = Timing("delete an instance", where)
        for _ in range(runs):
            with cached.sample():
                result = engine.prepare(request)["result"]
                select_one(result["dsn"])
            with deleted.sample():
                engine.delete(f"/v1/instances/{result['instance_id']}")
        yield cached
        yield deleted


def first_on_empty_store(
    parent: Path, where: str, *, scripts: Scripts, image: str, runs: int, target: float | None
) -> Timing:
    """Measure a first prepare with nothing cached, not even the initialised cluster."""
    timing = Timing(
        f"first prepare of {scripts.name}, empty store", where, target=target, rival=FROM_SCRATCH
    )
    for _ in range(runs):
        with _engine(parent) as engine, timing.sample():
            select_one(engine.prepare(scripts.request(image))["result"]["dsn"])
    return timing


def start(runs: int) -> Timing:
    """Measure from exec to the first healthy answer."""
    timing = Timing("exec → healthy", "engine", target=1000.0)
    for _ in range(runs):
        with _engine(Path(tempfile.gettempdir())) as engine:
            timing.samples.append(engine.started_in * 1000)
    return timing


def requests(image: str, runs: int) -> Iterator[Timing]:
    """Measure short requests on one connection with many jobs stored."""
    with _engine(Path(tempfile.gettempdir())) as engine:
        for number in range(STORED_JOBS):
            engine.prepare(
                {
                    "prepare_kind": "psql",
                    "image_id": image,
                    "psql_args": ["-c", f"SELECT {number}"],
                    "plan_only": True,
                }
            )
        for path in ("/v1/health", "/v1/prepare-jobs"):
            timing = Timing(f"GET {path}", f"{STORED_JOBS} jobs stored", target=5.0)
            for _ in range(runs):
                with timing.sample():
                    engine.http.get(path).raise_for_status()
            yield timing


def runs_of_programs(image: str, runs: int) -> Iterator[Timing]:
    """Measure psql against an instance: the first byte of output, and memory under a lot of it."""
    with _engine(Path(tempfile.gettempdir())) as engine:
        request = {"prepare_kind": "psql", "image_id": image, "psql_args": ["-c", "SELECT 1"]}
        instance = engine.prepare(request)["result"]["instance_id"]
        first_byte = Timing("run psql, first byte of output", "one instance", target=40.0)
        body = {"instance_ref": instance, "kind": "psql", "args": ["-Atc", "SELECT 1"]}
        for _ in range(runs):
            with first_byte.sample(), engine.http.stream("POST", "/v1/runs", json=body) as lines:
                for line in lines.iter_lines():
                    if '"stdout"' in line:
                        break
        yield first_byte

        before = engine.memory_mib()
        yield from _grown(engine, instance, before)


def _grown(engine: Daemon, instance: str, before: float) -> Iterator[Timing]:
    growth = Timing("engine memory grown by 100 MB of run output", "one instance", unit="MiB")
    query = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
    body = {"instance_ref": instance, "kind": "psql", "args": ["-Atc", query]}
    with engine.http.stream("POST", "/v1/runs", json=body) as lines:
        for _ in lines.iter_raw():
            pass
    growth.samples.append(max(0.0, engine.memory_mib() - before))
    growth.target = 32.0
    yield growth


def cache_status(image_id: str, runs: int) -> Iterator[Timing]:
    """Measure the cache's accounts with many states."""
    with scratch(Path(tempfile.gettempdir())) as directory:
        store = directory / "store"
        store.mkdir(mode=0o700)
        database = SqliteStore(store / "state.db")
        for number in range(STORED_STATES):
            database.states.add(
                State(
                    state_id=f"{number:064x}",
                    parent_state_id=None,
                    image_id=image_id,
                    prepare_kind="psql",
                    prepare_args_normalized=f"-c {number}",
                    created_at=utc_now(),
                    size_bytes=28_000_000,
                )
            )
        database.close()
        timing = Timing("GET /v1/cache/status", f"{STORED_STATES} states", target=5.0)
        with Daemon(directory, store) as engine:
            for _ in range(runs):
                with timing.sample():
                    engine.http.get("/v1/cache/status").raise_for_status()
        yield timing
