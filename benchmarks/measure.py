"""Repeat a piece of work, keep its times, say its percentiles."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Timing:
    """The wall-clock times of one kind of work, in milliseconds.

    ``target`` is the promise for the median, in milliseconds; None where there is none.
    """

    work: str
    where: str
    target: float | None = None
    rival: str | None = None
    samples: list[float] = field(default_factory=list)

    @contextmanager
    def sample(self) -> Iterator[None]:
        """Time the block; a block that raises leaves no sample."""
        start = time.perf_counter()
        yield
        self.samples.append((time.perf_counter() - start) * 1000)

    def percentile(self, percent: float) -> float:
        """Return the nearest-rank percentile, in milliseconds."""
        ordered = sorted(self.samples)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    @property
    def p50(self) -> float:
        """The median, in milliseconds."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """The 99th percentile (the worst of fewer than 100 samples), in milliseconds."""
        return self.percentile(99)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the promise; None without one."""
        return None if self.target is None else self.p50 <= self.target

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and every sample, for the JSON report."""
        return {
            "work": self.work,
            "where": self.where,
            "runs": len(self.samples),
            "p50_ms": round(self.p50, 2),
            "p99_ms": round(self.p99, 2),
            "target_ms": self.target,
            "met": self.met,
            "rival": self.rival,
            "samples_ms": [round(sample, 2) for sample in self.samples],
        }
