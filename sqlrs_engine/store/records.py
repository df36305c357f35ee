"""The records that cross module borders: frozen, flat, without behaviour.

Every timestamp is a ``clock.Timestamp``; every duration is in seconds; every size is
in bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlrs_engine.clock import Timestamp

JobStatus = Literal["queued", "running", "succeeded", "failed"]
TaskType = Literal["plan", "resolve_image", "state_execute", "prepare_instance"]
InstanceStatus = Literal["active", "expired", "orphaned"]
NameStatus = Literal["active", "missing", "expired"]
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An immutable snapshot of a cluster after a step, or of an instance.

    ``image_id`` is the resolved image; ``parent_state_id`` is None for the first step.
    ``boot_id`` identifies the boot of the machine during which the state was published, until
    its files have reached the disk and it is durable; then it is None. ``proven`` is set once
    an instance of the state has started and accepted a connection. ``observed`` is whether it has
    observed inputs. ``refcount`` is the number of instances cloned from it.
    """

    state_id: str
    parent_state_id: str | None
    image_id: str
    prepare_kind: str
    prepare_args_normalized: str
    created_at: Timestamp
    size_bytes: int | None = None
    last_used_at: Timestamp | None = None
    use_count: int = 0
    min_retention_until: Timestamp | None = None
    boot_id: str | None = None
    proven: bool = False
    observed: bool = False
    refcount: int = 0


@dataclass(frozen=True, slots=True)
class MadeState:
    """A state with the recipe of its step and its observed inputs."""

    state: State
    recipe: Json | None = None
    observed: Sequence["ObservedInput"] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """A number of states and the sum of their known sizes."""

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The step that made a state from its parent or its image; ``prepare`` defines its JSON."""

    state_id: str
    image_id: str
    step: Json


@dataclass(frozen=True, slots=True)
class ObservedInput:
    """Something that a step was seen to use although its plan did not foresee it.

    ``path`` is relative to the step's root. ``value`` is the file's digest, the hash of the
    directory's names or what the link leads to, None when that was not the same all the time:
    then it never matches. The kind ``unseen`` stands for what could not be observed.
    """

    kind: Literal["file", "directory", "link", "unseen"]
    path: str
    value: str | None

    @property
    def key(self) -> tuple[str, str]:
        """What identifies it among the inputs of a state."""
        return self.kind, self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A writable clone of a state with its own running cluster.

    ``ttl`` is None when the configured default applies and 0 when the instance never expires;
    ``expires_at`` is derived from it and from the last activity. ``runtime_id`` is
    ``<pid>.<start time in clock ticks>`` of the postmaster. ``sessions`` is the last
    seen sum of ``pg_stat_database.sessions``. ``made_for`` is the purpose that its creator
    gave, such as a job's id; a purpose has at most one instance. ``name`` is the name bound
    to the instance first, None without one.
    """

    instance_id: str
    image_id: str
    state_id: str
    created_at: Timestamp
    port: int
    password: str
    ttl: float | None = None
    protected: bool = False
    expires_at: Timestamp | None = None
    activity_at: Timestamp | None = None
    sessions: int = 0
    runtime_id: str | None = None
    made_for: str | None = None
    name: str | None = None
    status: InstanceStatus = "orphaned"

    @property
    def dsn(self) -> str:
        """The connection URI, password included (PostgreSQL docs, 34.1.1.2)."""
        return f"postgres://sqlrs:{self.password}@127.0.0.1:{self.port}/postgres"


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A stable handle bound to an instance, which may be gone (status missing)."""

    name: str
    instance_id: str | None
    image_id: str
    state_id: str
    state_fingerprint: str | None = None
    last_used_at: Timestamp | None = None
    status: NameStatus = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An asynchronous prepare.

    ``request`` is the request as submitted; a client that repeats it sends the same
    ``idempotency_key``. ``result`` and ``error`` are the JSON objects of the API; one of them
    is set once the job is terminal (neither for a plan-only job that succeeded).
    """

    job_id: str
    status: JobStatus
    prepare_kind: str
    image_id: str
    request: Json
    created_at: Timestamp
    plan_only: bool = False
    resolved_image_id: str | None = None
    prepare_args_normalized: str | None = None
    signature: str | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    result: Json | None = None
    error: Json | None = None
    idempotency_key: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether the job is terminal: it has succeeded or failed."""
        return self.status in ("succeeded", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A unit of a job's work, with its own status."""

    job_id: str
    task_id: str
    position: int
    type: TaskType
    status: JobStatus = "queued"
    planner_kind: str | None = None
    input_kind: Literal["image", "state"] | None = None
    input_id: str | None = None
    image_id: str | None = None
    resolved_image_id: str | None = None
    task_hash: str | None = None
    output_state_id: str | None = None
    cached: bool | None = None
    instance_mode: str | None = None
    changeset_id: str | None = None
    changeset_author: str | None = None
    changeset_path: str | None = None
    args_summary: str | None = None
