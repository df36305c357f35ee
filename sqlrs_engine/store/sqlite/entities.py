"""Pony entities: the columns of each table, as Pony writes them.

They belong to one ``Database``, so several stores can live in one process. Relations
are foreign keys of the schema and not Pony's, so that a cascade runs inside SQLite.
Text is ``Optional`` where it may be empty, and never stripped.
"""

from dataclasses import dataclass
from typing import Any

from pony import orm


@dataclass(frozen=True, slots=True)
class Entities:
    """The entity classes bound to one database."""

    State: Any
    Instance: Any
    Name: Any
    Job: Any
    Task: Any


def define(db: Any) -> Entities:
    """Define the entities on a Pony ``Database`` and return them."""

    def text(kind: type = orm.Required, **options: Any) -> Any:
        return kind(str, autostrip=False, **options)

    def nullable(**options: Any) -> Any:
        return orm.Optional(str, autostrip=False, nullable=True, **options)

    class State(db.Entity):  # type: ignore[misc]
        _table_ = "states"
        state_id = orm.PrimaryKey(str, autostrip=False)
        parent_state_id = nullable()
        image_id = text()
        prepare_kind = text()
        prepare_args_normalized = text(orm.Optional)
        created_at = text()
        size_bytes = orm.Optional(int, size=64)
        last_used_at = nullable()
        use_count = orm.Required(int, size=64)
        min_retention_until = nullable()
        boot_id = nullable()
        proven = orm.Required(bool)

    class Instance(db.Entity):  # type: ignore[misc]
        _table_ = "instances"
        instance_id = orm.PrimaryKey(str, autostrip=False)
        image_id = text()
        state_id = text()
        created_at = text()
        port = orm.Required(int)
        password = text(orm.Optional)
        ttl = orm.Optional(float)
        protected = orm.Required(bool)
        expires_at = nullable()
        activity_at = nullable()
        sessions = orm.Required(int, size=64)
        runtime_id = nullable()
        made_for = nullable()

    class Name(db.Entity):  # type: ignore[misc]
        _table_ = "names"
        name = orm.PrimaryKey(str, autostrip=False)
        instance_id = nullable()
        image_id = text()
        state_id = text()
        state_fingerprint = nullable()
        last_used_at = nullable()
        bound_at = text()

    class Job(db.Entity):  # type: ignore[misc]
        _table_ = "jobs"
        job_id = orm.PrimaryKey(str, autostrip=False)
        status = text()
        prepare_kind = text()
        image_id = text()
        created_at = text()
        plan_only = orm.Required(bool)
        resolved_image_id = nullable()
        prepare_args_normalized = nullable()
        signature = nullable()
        started_at = nullable()
        finished_at = nullable()
        result = nullable()
        error = nullable()
        request = text(lazy=True)
        idempotency_key = nullable(lazy=True)

    class Task(db.Entity):  # type: ignore[misc]
        _table_ = "tasks"
        job_id = text()
        task_id = text()
        position = orm.Required(int)
        type = text()
        status = text()
        planner_kind = nullable()
        input_kind = nullable()
        input_id = nullable()
        image_id = nullable()
        resolved_image_id = nullable()
        task_hash = nullable()
        output_state_id = nullable()
        cached = orm.Optional(bool)
        instance_mode = nullable()
        changeset_id = nullable()
        changeset_author = nullable()
        changeset_path = nullable()
        args_summary = nullable()
        orm.PrimaryKey(job_id, task_id)

    return Entities(State, Instance, Name, Job, Task)
