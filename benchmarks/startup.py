"""From exec to the first healthy answer."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from .daemon import Daemon, scratch
from .measure import Timing
from .session import Session

TARGET_MS = 1000.0


def measure(session: Session) -> Iterator[Timing]:
    """Start engines, one after another."""
    timing = Timing("exec → healthy", "engine", TARGET_MS)
    for _ in range(session.cold_runs):
        with (
            scratch(Path(tempfile.gettempdir())) as directory,
            Daemon(directory, directory / "store") as engine,
        ):
            timing.samples.append(engine.started_in * 1000)
    yield timing
