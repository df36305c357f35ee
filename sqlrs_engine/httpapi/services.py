"""What the API needs of the engine: one small protocol a service.

All of them are synchronous and safe to call from any thread; they raise the errors of
``sqlrs_engine.errors``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sqlrs_engine.metrics import Metrics
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Upload
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Instance, Job, Json, Name, State


class Registry(Protocol):
    """Lookups by id or name, and the rules of names."""

    def instance(self, ref: str) -> tuple[Instance, bool]:
        """Return the instance and whether ``ref`` was a name. Raises NotFound."""

    def name(self, name: str) -> Name:
        """Return a name. Raises NotFound."""

    def bind(self, name: str, instance_ref: str) -> tuple[Name, bool]:
        """Bind a name; also return whether it is new. Raises InvalidArgument, NotFound."""

    def unbind(self, name: str) -> None:
        """Delete a name. Raises NotFound."""


class Instances(Protocol):
    """The lifecycle of instances."""

    def create(
        self,
        state_id: str,
        *,
        name: str | None = None,
        ttl: float | None = None,
        protected: bool = False,
        made_for: str | None = None,
        asked: str | None = None,
    ) -> Instance:
        """Start an instance of a state; ``ttl`` in seconds, 0 for never.

        Or return, running, the one that was ``made_for`` the same. Raises
        IdempotencyKeyReused when something else was ``asked`` then.
        """

    def update(self, instance_id: str, *, ttl: Any = ..., protected: Any = ...) -> Instance:
        """Change ``ttl`` (seconds, 0 for never, None for the default) or ``protected``.

        What is not given stays as it is.
        """

    def reset(self, instance_id: str, force: bool = False) -> Instance:
        """Put an instance back to its state. Raises Conflict while it is connected to."""

    def promote(self, instance_id: str) -> State:
        """Make a state of an instance."""


class DeleteNode(Protocol):
    """A node of a deletion tree."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def connections(self) -> int | None: ...  # noqa: D102
    @property
    def blocked(self) -> str | None: ...  # noqa: D102
    @property
    def runtime_id(self) -> str | None: ...  # noqa: D102
    @property
    def children(self) -> "Sequence[DeleteNode]": ...  # noqa: D102


class DeleteResult(Protocol):
    """What a delete did, would do, or could not."""

    @property
    def dry_run(self) -> bool: ...  # noqa: D102
    @property
    def outcome(self) -> Literal["deleted", "would_delete", "blocked"]: ...  # noqa: D102
    @property
    def root(self) -> DeleteNode: ...  # noqa: D102


class Deletion(Protocol):
    """Deletes instances and states."""

    def instance(self, instance_id: str, *, force: bool, dry_run: bool) -> DeleteResult:
        """Delete an instance. Raises NotFound."""

    def state(self, state_id: str, *, recurse: bool, force: bool, dry_run: bool) -> DeleteResult:
        """Delete a state. Raises NotFound."""


class EventLog(Protocol):
    """The events of jobs, as encoded lines without their newlines."""

    def lines(self, job_id: str, start: int) -> list[bytes]:
        """Return events from index ``start``, all of them or the next batch."""

    def subscribe(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, after each change; return what ends that."""

    def finished(self, job_id: str) -> bool:
        """Return whether no event will follow: the terminal one is there, or the job is gone."""

    def broken_off(self, job_id: str) -> bool:
        """Return whether a job that is not over goes on at the engine's next start only."""


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
