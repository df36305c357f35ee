"""What the API needs of the engine: one small protocol a service.

All of them are synchronous and safe to call from any thread; they raise the errors of
``sqlrs_engine.errors``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlrs_engine.deletion import DeleteResult, Deletion
from sqlrs_engine.instances import Instances
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.prepare.jobs.events import Batch
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.registry import Registry
from sqlrs_engine.sources import Upload
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Job, Json


class EventLog(Protocol):
    """The events of jobs, as encoded lines without their newlines."""

    def read(self, job_id: str, start: int) -> Batch:
        """Return the events from index ``start``, all there are or the next of them."""

    def subscribe(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, after each change; return what ends that."""


class Prepare(Protocol):
    """Prepare jobs."""

    @property
    def events(self) -> EventLog:
        """The jobs' events."""

    def submit(self, request: PrepareRequest, *, idempotency_key: str | None = None) -> Job:
        """Queue a job, or return the one that was submitted with the key.

        Raises InvalidArgument, IdempotencyKeyReused, Unavailable.
        """

    def cancel(self, job_id: str) -> tuple[Job, bool]:
        """Cancel a job; also return whether it was not over yet. Raises NotFound."""

    def delete(self, job_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Delete a job. Raises NotFound."""

    def read(self, job: Job) -> None:
        """Note that a client was shown this record."""


class Config(Protocol):
    """Settings by path."""

    def get(self, path: str, effective: bool = False) -> Any:
        """Return a value. Raises NotFound, InvalidArgument."""

    def effective(self) -> Json:
        """Return all values, defaults included."""

    def overrides(self) -> Json:
        """Return the values that were set."""

    def set(self, path: str, value: Any) -> None:
        """Set a value. Raises InvalidArgument."""

    def remove(self, path: str) -> Any:
        """Go back to the default and return it, None if there is none. Raises NotFound."""

    def schema(self) -> Json:
        """Return the JSON schema."""

    def needs_restart(self, path: str) -> bool:
        """Return whether a change at a path waits for a restart."""


class Run(Protocol):
    """A run in progress, read as it goes."""

    @property
    def finished(self) -> bool:
        """Whether the last event has been taken."""

    def start(self, on_event: Callable[[], None]) -> None:
        """Begin; ``on_event`` is called, from any thread, when there is something."""

    def take(self) -> list[Json]:
        """Return the events since the last call."""

    def cancel(self) -> None:
        """End it; harmless when it is over."""


class Runs(Protocol):
    """Runs psql and pgbench."""

    def open(self, body: Json) -> Run:
        """Start a run. Raises InvalidArgument, NotFound, Conflict."""


class Cache(Protocol):
    """The state cache's accounts."""

    def status(self) -> Json:
        """Return sizes and limits, fields without a value left out."""

    def explain(self, request: PrepareRequest) -> Json:
        """Return what a prepare would hit, fields without a value left out."""


class Sources(Protocol):
    """Files of clients on other machines."""

    def receive(self, digest: str, declared: int | None = None) -> Upload:
        """Begin an upload. Raises InvalidArgument, SourceBlobTooLarge, StorageFull."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The engine's services; ``warnings`` are the codes of what is wrong now."""

    store: Store
    registry: Registry
    instances: Instances
    deletion: Deletion
    prepare: Prepare
    config: Config
    runs: Runs
    cache: Cache
    sources: Sources
    metrics: Metrics = field(default_factory=Metrics)
    warnings: Callable[[], list[str]] = list
