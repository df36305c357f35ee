"""The counters and timers of the engine, in Prometheus' terms.

Each engine has one ``Metrics`` with its own registry: nothing is global. Names, labels and meanings
are listed in ``docs/metrics.md``.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE", "Gauge", "Metrics"]

CONTENT_TYPE = "text/plain"
"""The text format, version 0.0.4 (Prometheus docs, "Exposition formats")."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value that is read at each scrape: by the values of ``label``, or one under ``""``."""

    name: str
    description: str
    read: Callable[[], Mapping[str, float]]
    label: str | None = None


class Metrics:
    """The counters and histograms of one engine; safe to use from any thread."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, description: str, *labels: str) -> Counter:
            return Counter(name, description, labels, registry=registry)

        def histogram(name: str, description: str, *labels: str) -> Histogram:
            return Histogram(name, description, labels, registry=registry, buckets=_SECONDS)

        self._jobs = counter("sqlrs_jobs", "Jobs that ended.", "kind", "status")
        self._tasks = counter("sqlrs_tasks", "Tasks that ended.", "type", "status")
        self._steps = counter(
            "sqlrs_cache_lookups", "Steps by whether their state was cached.", "result"
        )
        self._evictions = counter("sqlrs_evictions", "Evicted states and dumps.")
        self._evicted = counter(
            "sqlrs_evicted_bytes", "Apparent size of the evicted states and dumps."
        )
        self._pool = counter(
            "sqlrs_pool_requests", "Instances by whether the pool had a standby.", "result"
        )
        self._requests = counter("sqlrs_http_requests", "HTTP requests.", "operation", "status")
        self._prepare = histogram(
            "sqlrs_prepare_seconds", "Time from the submission of a job to its end.", "result"
        )
        self._phases = histogram(
            "sqlrs_phase_seconds", "Time of the phases of building states and instances.", "phase"
        )
        self._http = histogram(
            "sqlrs_http_request_seconds",
            "Time of an HTTP request until its response has ended.",
            "operation",
        )
        # Finding them by their labels costs more than counting.
        self._ended: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def job_ended(self, kind: str, status: str, seconds: float, result: str) -> None:
        """Count a job. ``result`` is cached, built, planned or failed."""
        self._jobs.labels(kind, status).inc()
        self._prepare.labels(result).observe(seconds)

    def task_ended(self, kind: str, status: str) -> None:
        """Count a task."""
        self._tasks.labels(kind, status).inc()

    def looked_up(self, *, hit: bool) -> None:
        """Count a step, and whether its state was in the cache."""
        self._steps.labels("hit" if hit else "miss").inc()

    def evicted(self, size: int) -> None:
        """Count an evicted state or dump of this many bytes."""
        self._evictions.inc()
        self._evicted.inc(size)

    def pool_requested(self, *, hit: bool) -> None:
        """Count an instance, and whether the pool had a standby for it."""
        self._pool.labels("hit" if hit else "miss").inc()

    def request_ended(self, operation: str, status: int, seconds: float) -> None:
        """Count a request; ``status`` is 0 when it got no response."""
        ended = self._ended.get((operation, status))
        if ended is None:
            ended = self._requests.labels(operation, str(status)), self._http.labels(operation)
            self._ended[operation, status] = ended
        ended[0].inc()
        ended[1].observe(seconds)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase that succeeds: clone, start, snapshot, initdb, or the kind of a step."""
        began = perf_counter()
        yield
        self._phases.labels(name).observe(perf_counter() - began)

    def add_gauge(self, gauge: Gauge) -> None:
        """Add a value that is read at each scrape."""
        self._registry.register(_GaugeCollector(gauge))

    def render(self) -> bytes:
        """Return all metrics in the text format."""
        return generate_latest(self._registry)


class _GaugeCollector(Collector):
    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe the metric, so that registering it reads nothing."""
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the gauge."""
        family = self._family()
        for value, number in self._gauge.read().items():
            family.add_metric([value] if self._gauge.label else [], number)
        yield family

    def _family(self) -> GaugeMetricFamily:
        labels = [self._gauge.label] if self._gauge.label else []
        return GaugeMetricFamily(self._gauge.name, self._gauge.description, labels=labels)
