"""The tables, as Pony entities: the one declaration of their columns and relations.

``schema`` creates new databases from them. Foreign keys cascade, or refuse, inside SQLite,
because rows are deleted in bulk: Pony would first load what depends on them, megabytes of
events among it. Ids are lower-case hexadecimal text and times fixed-width RFC 3339 text,
so both compare as text. Text is ``Optional`` where it may be empty, and never stripped.

The entities belong to one Pony ``Database``, so that several stores can live in one process.
"""

from dataclasses import dataclass
from typing import Any

from pony import orm


@dataclass(frozen=True, slots=True)
class Entities:
    """The entity classes of one database."""

    State: Any
    Recipe: Any
    ObservedInputs: Any
    Instance: Any
    Name: Any
    Job: Any
    Task: Any
    EventBlock: Any
    Meta: Any


INDEXES = (
    # Here is what Pony cannot declare: partial indexes, names for composite indexes, and
    # unique indexes that `ALTER TABLE` could give to older databases.
    "CREATE INDEX states_undurable ON states (state_id) WHERE boot_id IS NOT NULL",
    "CREATE INDEX states_observed ON states (state_id) WHERE observed",
    "CREATE UNIQUE INDEX instances_by_purpose ON instances (made_for)",
    "CREATE INDEX names_by_instance ON names (instance_id, bound_at, name)",
    "CREATE INDEX jobs_by_signature ON jobs (signature, finished_at)",
    "CREATE INDEX jobs_unfinished ON jobs (created_at) WHERE status IN ('queued', 'running')",
    "CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key)",
)


def define(db: Any) -> Entities:
    """Define the entities on a Pony ``Database`` and return them."""

    class State(db.Entity):  # type: ignore[misc]
        _table_ = "states"
        state_id = orm.PrimaryKey(str, autostrip=False)
        parent = orm.Optional("State", column="parent_state_id", index="states_by_parent")
        image_id = _text(index="states_by_image")
        prepare_kind = _text()
        prepare_args_normalized = _text(orm.Optional)
        created_at = _text()
        size_bytes = orm.Optional(int, sql_type="INTEGER", size=64, index="states_by_size")
        last_used_at = _nullable()
        use_count = orm.Required(int, sql_type="INTEGER", size=64, sql_default="0")
        min_retention_until = _nullable()
        boot_id = _nullable()
        proven = orm.Required(bool, sql_default="0")
        observed = orm.Required(bool, sql_default="0")
        children = orm.Set("State", reverse="parent")
        instances = orm.Set("Instance", cascade_delete=False)
        recipe = orm.Optional("Recipe", cascade_delete=True)
        observed_inputs = orm.Optional("ObservedInputs", cascade_delete=True)

    class Recipe(db.Entity):  # type: ignore[misc]
        # A separate table: lists of states need not read past values that may be large.
        _table_ = "recipes"
        state = orm.PrimaryKey(State, column="state_id")
        recipe = _text()

    class ObservedInputs(db.Entity):  # type: ignore[misc]
        _table_ = "observed_inputs"
        state = orm.PrimaryKey(State, column="state_id")
        inputs = _text()

    class Instance(db.Entity):  # type: ignore[misc]
        _table_ = "instances"
        instance_id = orm.PrimaryKey(str, autostrip=False)
        image_id = _text(index="instances_by_image")
        state = orm.Required(State, column="state_id", index="instances_by_state")
        created_at = _text()
        port = orm.Required(int, unique=True)
        password = _text(orm.Optional)
        ttl = orm.Optional(float)
        protected = orm.Required(bool, sql_default="0")
        expires_at = _nullable()
        activity_at = _nullable()
        sessions = orm.Required(int, sql_type="INTEGER", size=64, sql_default="0")
        runtime_id = _nullable()
        made_for = _nullable()

    class Name(db.Entity):  # type: ignore[misc]
        # No relations: a name outlives its instance and its state and keeps their ids.
        _table_ = "names"
        name = orm.PrimaryKey(str, autostrip=False)
        instance_id = _nullable()
        image_id = _text()
        state_id = _text(index="names_by_state")
        state_fingerprint = _nullable()
        last_used_at = _nullable()
        bound_at = _text()

    class Job(db.Entity):  # type: ignore[misc]
        _table_ = "jobs"
        job_id = orm.PrimaryKey(str, autostrip=False)
        status = _text()
        prepare_kind = _text()
        image_id = _text()
        created_at = _text(index="jobs_by_age")
        plan_only = orm.Required(bool, sql_default="0")
        resolved_image_id = _nullable()
        prepare_args_normalized = _nullable()
        signature = _nullable()
        started_at = _nullable()
        finished_at = _nullable()
        result = _nullable()
        error = _nullable()
        # Behind all others that lists show: it may hold megabytes of standard input, and
        # a column behind it can only be read by walking all of them.
        request = _text(lazy=True)
        idempotency_key = _nullable(lazy=True)
        tasks = orm.Set("Task", cascade_delete=True)
        event_blocks = orm.Set("EventBlock", cascade_delete=True)

    class Task(db.Entity):  # type: ignore[misc]
        _table_ = "tasks"
        job = orm.Required(Job, column="job_id")
        task_id = _text()
        position = orm.Required(int)
        type = _text()
        status = _text()
        planner_kind = _nullable()
        input_kind = _nullable()
        input_id = _nullable()
        image_id = _nullable()
        resolved_image_id = _nullable()
        task_hash = _nullable()
        output_state_id = _nullable()
        cached = orm.Optional(bool)
        instance_mode = _nullable()
        changeset_id = _nullable()
        changeset_author = _nullable()
        changeset_path = _nullable()
        args_summary = _nullable()
        orm.PrimaryKey(job, task_id)

    class EventBlock(db.Entity):  # type: ignore[misc]
        _table_ = "event_blocks"
        job = orm.Required(Job, column="job_id")
        first = orm.Required(int)
        count = orm.Required(int)
        lines = orm.Required(bytes, lazy=True)
        orm.PrimaryKey(job, first)

    class Meta(db.Entity):  # type: ignore[misc]
        _table_ = "meta"
        key = orm.PrimaryKey(str, autostrip=False)
        value = _text()

    return Entities(State, Recipe, ObservedInputs, Instance, Name, Job, Task, EventBlock, Meta)


def _text(kind: type = orm.Required, **options: Any) -> Any:
    return kind(str, autostrip=False, **options)


def _nullable(**options: Any) -> Any:
    return orm.Optional(str, autostrip=False, nullable=True, **options)
