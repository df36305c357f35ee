"""The services of the engine, and the limits of one application, that all handlers share.

The services are synchronous, safe to call from any thread, and raise the errors of
``sqlrs_engine.errors``. Services that tests replace are protocols.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

import anyio
import anyio.to_thread

from sqlrs_engine.cache import CacheReport
from sqlrs_engine.config import Config
from sqlrs_engine.deletion import DeleteResult, Deletion
from sqlrs_engine.dumps import Dumps
from sqlrs_engine.errors import Unavailable
from sqlrs_engine.instances import Instances
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.distributions.listing import ListedImage
from sqlrs_engine.prepare.jobs.events import Batch
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.registry import Registry
from sqlrs_engine.runs import Run
from sqlrs_engine.sources import Sources
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Job, Json

from .heartbeats import Heartbeats

_THREADS = 32
MAX_STREAMS = 256

P = ParamSpec("P")
T = TypeVar("T")


class EventLog(Protocol):
    """The events of jobs, as encoded lines without their newlines."""

    def read(self, job_id: str, start: int) -> Batch:
        """Return the events from index ``start``, all of them or the next batch."""

    def subscribe(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, after each change. Return a function that stops this."""


class Prepare(Protocol):
    """Prepare jobs."""

    @property
    def events(self) -> EventLog:
        """The jobs' events."""

    def submit(self, request: PrepareRequest, *, idempotency_key: str | None = None) -> Job:
        """Queue a job, or return the job that was submitted with the same key.

        Raises InvalidArgument, IdempotencyKeyReused, Unavailable.
        """

    def cancel(self, job_id: str) -> tuple[Job, bool]:
        """Cancel a job. Also return whether it had not ended yet. Raises NotFound."""

    def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Delete a job. Raises NotFound."""

    def read(self, job: Job) -> None:
        """Record that a client has seen this job."""


class Runs(Protocol):
    """Runs psql and pgbench."""

    def open(self, body: Json) -> Run:
        """Start a run. Raises InvalidArgument, NotFound, Conflict."""


class Images(Protocol):
    """The images of this machine."""

    def list(self) -> Sequence[ListedImage]:
        """Return the images, best first."""


class OpenLimit:
    """A limit on the number of open streams. Only the event loop's thread uses it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def take(self) -> None:
        """Count a stream that opens. Raises Unavailable if too many are open."""
        if self.taken >= self._limit:
            raise Unavailable("too many open streams", f"close one of {self._limit} and try again")
        self.taken += 1

    def give_back(self) -> None:
        """Count a stream that closes."""
        self.taken -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The fields that identify an engine.

    ``prove`` returns the response to a challenge, which shows that the engine has its token.
    """

    version: str = "dev"
    instance_id: str = ""
    prove: Callable[[str], str] = str


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services, limits and heartbeats that all requests to one engine share.

    ``warnings`` returns the codes of current problems. ``threads`` limits the number of concurrent
    calls, ``streams`` the number of open streams. ``heartbeats`` are those of all streams.
    """

    store: Store
    registry: Registry
    instances: Instances
    deletion: Deletion
    prepare: Prepare
    config: Config
    runs: Runs
    images: Images
    cache: CacheReport
    sources: Sources
    dumps: Dumps
    metrics: Metrics = field(default_factory=Metrics)
    warnings: Callable[[], list[str]] = list
    identity: Identity = field(default_factory=Identity)
    streams: OpenLimit = field(default_factory=lambda: OpenLimit(MAX_STREAMS))
    heartbeats: Heartbeats = field(default_factory=Heartbeats)
    threads: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_THREADS))

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of a service, which may take long, on a thread."""
        return await anyio.to_thread.run_sync(
            functools.partial(function, *args, **kwargs), limiter=self.threads
        )
