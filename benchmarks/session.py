"""What one run of the benchmark measures with: inputs, places, repetitions, rivals."""

from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.postgres.distributions.distribution import Distribution

from .daemon import Engine
from .inputs import Input

# Tasks: what rivals do too.
FRESH = "a fresh database of a prepared one"
FIRST = "a database from scratch"
DELETE = "delete an instance"
LIST = "list 1,000 rows"
ITEM = "item GET"


@dataclass(frozen=True, kw_only=True)
class Session:
    """``stores`` are directories by the name of their filesystem."""

    image: str
    distribution: Distribution
    inputs: list[Input]
    stores: dict[str, Path]
    chinook: Path | None
    runs: int
    cold_runs: int
    rival: Engine | None = None

    def runs_of(self, what: Input) -> int:
        """Return how often to repeat work on a prepared database."""
        return self.cold_runs if what.is_large else self.runs
