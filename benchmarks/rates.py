"""Requests a second: items and lists of the engine, its floor, and the rival's."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlrs_engine.clock import utc_now
from sqlrs_engine.store.records import Job, Name, State
from sqlrs_engine.store.sqlite import SqliteStore

from . import floor
from .daemon import Daemon, Engine, scratch
from .load import latencies
from .measure import Timing
from .session import ITEM, LIST, Session

ROWS = 1000
CONNECTIONS = 8
ROUNDS, SECONDS = 5, 1.0
LIST_RATE = 3 * 126.0
ITEM_RATE = 0.8 * 6700
STATUS_MS = 5.0


def measure(session: Session) -> Iterator[Timing]:
    """Measure the engine with 1,000 names, states and jobs, and what bounds it."""
    with scratch(Path(tempfile.gettempdir())) as directory:
        store = directory / "store"
        store.mkdir(mode=0o700)
        _fill(store, session.distribution.image_id)
        with Daemon(directory, store) as engine:
            yield _rate(engine.url, "/v1/names/name-500", ITEM, engine.token, target=ITEM_RATE)
            yield _rate(engine.url, "/v1/health", "health", engine.token)
            for noun in ("names", "states", "prepare-jobs"):
                yield _rate(engine.url, f"/v1/{noun}", LIST, engine.token, target=LIST_RATE)
            status = Timing("GET /v1/cache/status", f"{ROWS} states", target=STATUS_MS)
            for _ in range(10 * session.runs):
                with status.sample():
                    engine.http.get("/v1/cache/status").raise_for_status()
            yield status
    for app in ("bare", "starlette"):
        with floor.serving(app) as url:
            timing = _rate(url, "/v1/names/name-500", ITEM)
            timing.work, timing.is_rival = f"uvicorn with {app} ASGI", True
            yield timing
    if session.rival is not None:
        yield from _rival(session.rival, session.image)


def _rate(url: str, path: str, task: str, token: str = "", target: float | None = None) -> Timing:
    timing = Timing(
        f"GET {path}", f"{CONNECTIONS} connections", target, "req/s", task=task, is_rate=True
    )
    for _ in range(ROUNDS):
        answers = latencies(url + path, token, connections=CONNECTIONS, seconds=SECONDS)
        timing.samples.append(len(answers) / SECONDS)
    return timing


def _rival(engine: Engine, image: str) -> Iterator[Timing]:
    """Rows that every engine can be given: jobs that only plan."""
    job = ""
    for number in range(ROWS):
        arguments = ["-c", f"SELECT {number}"]
        job = engine.prepare(
            {
                "prepare_kind": "psql",
                "image_id": image,
                "psql_args": arguments,
                "plan_only": True,
            }
        )["job_id"]
    for path, task in ((f"/v1/prepare-jobs/{job}", ITEM), ("/v1/prepare-jobs", LIST)):
        timing = _rate(engine.url, path, task, engine.token)
        timing.work, timing.is_rival = f"rival engine: {task} of jobs", True
        yield timing


def _fill(store: Path, image: str) -> None:
    database = SqliteStore(store / "state.db")
    for number in range(ROWS):
        ident, state_id, now = f"{number:032x}", f"{number:064x}", utc_now()
        database.states.add(
            State(
                state_id=state_id,
                parent_state_id=None,
                image_id=image,
                prepare_kind="psql",
                prepare_args_normalized=f"-c {number}",
                created_at=now,
                size_bytes=28_000_000,
            )
        )
        database.names.put(
            Name(
                name=f"name-{number}",
                instance_id=ident,
                image_id=image,
                state_id=state_id,
                state_fingerprint=state_id,
                last_used_at=now,
            )
        )
        database.jobs.add(
            Job(
                job_id=ident,
                status="succeeded",
                prepare_kind="psql",
                image_id="postgres",
                resolved_image_id=image,
                prepare_args_normalized=f"-c {number}",
                signature=state_id,
                request={},
                created_at=now,
                started_at=now,
                finished_at=now,
            )
        )
    database.close()
