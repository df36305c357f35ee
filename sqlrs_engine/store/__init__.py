"""Interfaces of the persistent store: one small protocol per noun.

Each call is one transaction. Lists are ordered by creation time, oldest first (names
by name, tasks by job and position). Implementations are safe to call from any thread.

``find_json`` is for long lists: it yields the records that ``find`` returns as encoded JSON
objects of the given fields, many per piece, with ``separator`` between the objects of a piece.
Each piece is read when the iterator reaches it. Fields without a value and flags that are not
set are left out.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sqlrs_engine.clock import Timestamp

from .filters import InstanceFilter, NameFilter, StateFilter
from .records import (
    Instance,
    Job,
    JobStatus,
    Json,
    MadeState,
    Name,
    ObservedInput,
    Recipe,
    State,
    Task,
    Totals,
)
from .watcher import Labelled, Watcher

__all__ = [
    "InstanceFilter",
    "InstanceStore",
    "JobStore",
    "Labelled",
    "MetaStore",
    "NameFilter",
    "NameStore",
    "StateFilter",
    "StateStore",
    "Store",
    "Watcher",
]


class StateStore(Protocol):
    """Rows of states."""

    def get(self, state_id: str) -> State | None:
        """Return the state with its refcount, None when there is none."""

    def find(self, filter: StateFilter) -> list[State]:
        """Return the states that match."""

    def find_json(
        self, filter: StateFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the states that match as JSON."""

    def add(
        self,
        state: State,
        recipe: Json | None = None,
        observed: Sequence[ObservedInput] = (),
        passed: Sequence[MadeState] = (),
    ) -> None:
        """Insert a state, the recipe of its step and its observed inputs.

        When the state is there already, only its ``size_bytes``, its ``boot_id`` and its observed
        inputs are replaced, because its files are new. ``passed`` are ancestors without files,
        from the first to the last: those that are not there yet are inserted before it. Raises
        NotFound when its parent state is gone.
        """

    def observed(self) -> Mapping[str, tuple[ObservedInput, ...]]:
        """Return the observed inputs of all states that have some; none where they are lost."""

    def set_observed(self, state_id: str, inputs: Sequence[ObservedInput]) -> None:
        """Replace a state's observed inputs."""

    def totals(self) -> Totals:
        """Return the number of states and their total size."""

    def held(self, youngest: Timestamp, now: Timestamp, also: Collection[str]) -> Totals:
        """Return the number of states that are needed and their total size.

        A state is needed when it has instances, was created after ``youngest``, is to be
        retained until after ``now`` or is in ``also``; and so are all its ancestors.
        """

    def recipes(self, parent_state_id: str | None, limit: int) -> list[Recipe]:
        """Return the recipes of a state's children (None: of the states without a parent).

        At most ``limit`` are returned, the latest used first.
        """

    def touch(self, state_id: str, used_at: Timestamp) -> None:
        """Record a use: set ``last_used_at`` and increment ``use_count``."""

    def set_durable(self, state_ids: Iterable[str]) -> None:
        """Record that the files of these states have reached the disk; skip damaged states."""

    def set_proven(self, state_id: str) -> None:
        """Record that an instance of a state has started and let its user in."""

    def set_damaged(self, state_id: str) -> None:
        """Record that the files of a state are unusable: not durable, not proven."""

    def set_gone(self, state_id: str) -> None:
        """Record that a state no longer has files: its size is 0, and it is not durable."""

    def undurable(self) -> list[State]:
        """Return the states whose files may not have reached the disk."""

    def remove(self, state_id: str) -> bool:
        """Delete a state's row; return whether it was there.

        Ancestors without files that nothing else refers to are deleted with it. Raises Conflict
        while an instance or a child state refers to the state.
        """


class InstanceStore(Protocol):
    """Rows of instances."""

    def get(self, instance_id: str) -> Instance | None:
        """Return the instance, None when there is none."""

    def find(self, filter: InstanceFilter) -> list[Instance]:
        """Return the instances that match."""

    def find_json(
        self, filter: InstanceFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the instances that match as JSON."""

    def add(self, instance: Instance) -> None:
        """Insert an instance.

        Raises NotFound when its state is gone, Conflict when its port or its purpose belongs
        to another instance.
        """

    def update(self, instance_id: str, **changes: Any) -> Instance | None:
        """Change these fields and return the new record, None when there is no instance.

        Raises NotFound and Conflict as ``add`` does, TypeError on a field that is not stored.
        """

    def remove(self, instance_id: str) -> bool:
        """Delete an instance's row; return whether it was there. Its names stay."""

    def ports(self) -> set[int]:
        """Return the ports of all instances."""


class NameStore(Protocol):
    """Rows of names."""

    def get(self, name: str) -> Name | None:
        """Return the name's binding, None when there is no such name."""

    def find(self, filter: NameFilter) -> list[Name]:
        """Return the names that match."""

    def find_json(
        self, filter: NameFilter, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the names that match as JSON."""

    def put(self, name: Name) -> bool:
        """Bind a name, replacing its former binding; return whether the name is new."""

    def touch(self, name: str, used_at: Timestamp) -> None:
        """Set ``last_used_at``."""

    def remove(self, name: str) -> bool:
        """Delete a name; return whether it was there."""


class JobStore(Protocol):
    """Rows of jobs, their tasks and their events."""

    def get(self, job_id: str) -> Job | None:
        """Return the job, None when there is none."""

    def with_key(self, idempotency_key: str) -> Job | None:
        """Return the job submitted with an idempotency key, None when there is none."""

    def find(self, id_prefix: str | None = None) -> list[Job]:
        """Return the jobs, or those whose id starts with the prefix (any length)."""

    def find_json(
        self, id_prefix: str | None, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the jobs as JSON."""

    def add(self, job: Job) -> None:
        """Insert a job."""

    def update(self, job_id: str, **changes: Any) -> Job | None:
        """Change these fields and return the new record, None when there is no job.

        Raises TypeError on a field that is not stored.
        """

    def finish(
        self,
        job_id: str,
        status: JobStatus,
        finished_at: Timestamp,
        *,
        result: Json | None = None,
        error: Json | None = None,
        first_event: int = 0,
        events: Sequence[bytes] = (),
    ) -> Job | None:
        """Make a job terminal, settle its tasks and store its last events.

        When it failed, tasks still running become failed and queued ones stay queued;
        when it succeeded, both become succeeded. A job that is already terminal is left
        as it is. The events are stored as by ``append_events``. Returns the record, None when
        there is no job.
        """

    def remove(self, job_id: str) -> bool:
        """Delete a job with its tasks and events; return whether it was there."""

    def unfinished(self) -> list[Job]:
        """Return the queued and running jobs whose rows can be read."""

    def unreadable(self) -> list[str]:
        """Return the ids of the queued and running jobs that ``unfinished`` leaves out."""

    def finished_with(self, signature: str) -> list[str]:
        """Return the ids of the finished jobs of a signature, the latest first."""

    def finished_before(self, moment: Timestamp, limit: int) -> list[str]:
        """Return the ids of jobs that finished before a moment, the oldest first."""

    def finished_beyond(self, number: int, limit: int) -> list[str]:
        """Return the ids of finished jobs except the latest ``number``, the latest first."""

    def put_tasks(self, job_id: str, tasks: Sequence[Task], **changes: Any) -> None:
        """Replace the job's tasks and change these fields of the job.

        Raises NotFound when the job is gone.
        """

    def tasks(self, job_id: str | None = None) -> list[Task]:
        """Return the tasks of a job, or of all jobs."""

    def update_task(self, job_id: str, task_id: str, **changes: Any) -> None:
        """Change these fields of a task; a task that is gone is ignored."""

    def append_events(self, job_id: str, first: int, lines: Sequence[bytes]) -> None:
        """Store encoded events (one JSON object each, no newline) from index ``first``.

        The events of a job that is gone are ignored. Raises Conflict when an event is there
        already.
        """

    def events(self, job_id: str, start: int, limit: int) -> list[bytes]:
        """Return up to ``limit`` encoded events from index ``start``."""

    def event_count(self, job_id: str) -> int:
        """Return the number of events of the job."""


class MetaStore(Protocol):
    """Notes of the engine about itself: JSON objects by key."""

    def get(self, key: str) -> Json | None:
        """Return the object stored under a key, None when there is none."""

    def put(self, key: str, value: Json) -> None:
        """Store an object under a key, replacing the former one."""


class Store(Protocol):
    """The whole store of an engine."""

    states: StateStore
    instances: InstanceStore
    names: NameStore
    jobs: JobStore
    meta: MetaStore

    def close(self) -> None:
        """Release the database; later calls raise Unavailable."""
