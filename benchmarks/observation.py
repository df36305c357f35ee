"""Observed inputs: what a step and a cached prepare cost in directories of many sizes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .daemon import Daemon, scratch
from .measure import Timing
from .prepares import select_one
from .session import Session

DIRECTORIES = (50, 500, 5000)
FILES = 3  # in each directory
STEP_MS = 5.0  # more than without observation, as the requests without work_dir are
CACHED_MS = 1.0


def measure(session: Session) -> Iterator[Timing]:
    """Measure on every store; the samples of each kind are taken in turn."""
    for where, parent in session.stores.items():
        with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
            places: dict[int, Path | None] = {0: None}
            places |= {count: _tree(directory / str(count), count) for count in DIRECTORIES}
            steps = {count: Timing(_work("a step", count), where) for count in places}
            cached = {count: Timing(_work("a cached prepare", count), where) for count in places}
            for number in range(session.runs):
                for count, place in places.items():
                    unique = f"select {number} as in_{count}"
                    request = _request(session.image, unique, place)
                    _prepare(engine, request, steps[count])
                    _prepare(engine, request, cached[count])
        for timings, target in ((steps, STEP_MS), (cached, CACHED_MS)):
            yield from timings.values()
            for count in DIRECTORIES:
                yield _difference(timings[count], timings[0], target)


def _work(what: str, directories: int) -> str:
    return f"{what}, {directories} directories observed" if directories else f"{what}, unobserved"


def _tree(root: Path, count: int) -> Path:
    """Make a tree of so many directories with some files in each."""
    for number in range(count):
        place = root / f"{number // 50}" / f"{number % 50}"
        place.mkdir(parents=True)
        for file in range(FILES):
            (place / f"{file}.sql").touch()
    return root


def _request(image: str, command: str, work_dir: Path | None) -> dict[str, Any]:
    request: dict[str, Any] = {
        "prepare_kind": "psql",
        "image_id": image,
        "psql_args": ["-c", command],
    }
    return request if work_dir is None else {**request, "work_dir": str(work_dir)}


def _prepare(engine: Daemon, request: dict[str, Any], timing: Timing) -> None:
    with timing.sample():
        result = engine.prepare(request)["result"]
        select_one(result["dsn"])
    engine.delete(f"/v1/instances/{result['instance_id']}")


def _difference(timing: Timing, unobserved: Timing, target: float) -> Timing:
    pairs = zip(timing.samples, unobserved.samples, strict=True)  # of the same minute
    samples = [ours - plain for ours, plain in pairs]
    return Timing(f"{timing.work}: more", timing.where, target, samples=samples)
