"""Repeat a piece of work, keep its times, say its percentiles."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Timing:
    """The figures of one kind of work: wall-clock times in milliseconds, as a rule.

    ``target`` is the promise for the median, in ``unit``; None where there is none.
    ``database`` names what was cloned. ``task`` is what rivals do too: figures with the same
    task and database compare. Of a rate (``is_rate``), more is better.
    """

    work: str
    where: str
    target: float | None = None
    unit: str = "ms"
    database: str = ""
    task: str | None = None
    is_rival: bool = False
    is_rate: bool = False
    samples: list[float] = field(default_factory=list)

    @contextmanager
    def sample(self) -> Iterator[None]:
        """Time the block; a block that raises leaves no sample."""
        start = time.perf_counter()
        yield
        self.samples.append((time.perf_counter() - start) * 1000)

    def percentile(self, percent: float) -> float:
        """Return the nearest-rank percentile, from the best sample to the worst."""
        ordered = sorted(self.samples, reverse=self.is_rate)
        return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

    @property
    def p50(self) -> float:
        """The median."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """The 99th percentile (the worst of fewer than 100 samples)."""
        return self.percentile(99)

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the promise; None without one."""
        if self.target is None:
            return None
        return self.p50 >= self.target if self.is_rate else self.p50 <= self.target

    def advantage(self, rival: "Timing") -> float:
        """Say how many times better than the rival's this median is."""
        return self.p50 / rival.p50 if self.is_rate else rival.p50 / self.p50

    def as_dict(self) -> dict[str, Any]:
        """Return the figures and every sample, for the JSON report."""
        return {
            "work": self.work,
            "where": self.where,
            "database": self.database,
            "task": self.task,
            "is_rival": self.is_rival,
            "runs": len(self.samples),
            "unit": self.unit,
            "p50": round(self.p50, 2),
            "p99": round(self.p99, 2),
            "target": self.target,
            "met": self.met,
            "samples": [round(sample, 2) for sample in self.samples],
        }
