"""The JSON form of records: the same field names, without empty fields."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from sqlrs_engine import durations
from sqlrs_engine.deletion import DeleteResult, Node
from sqlrs_engine.store.records import Instance, Job, Json, Task

from .responses import Reply, json_reply

Entry = Callable[[Any], Json]

# Levels of a deletion tree; far below the limits of JSON parsers (orjson: 254 levels, of
# which a node takes two).
DEEPEST = 50


def _fields(*names: str) -> Entry:
    """Return a function that picks these attributes of a record, unless they are None."""
    read = attrgetter(*names)

    def entry(record: Any) -> Json:
        return {k: v for k, v in zip(names, read(record), strict=True) if v is not None}

    return entry


NAME_FIELDS = (
    "name",
    "instance_id",
    "image_id",
    "state_id",
    "state_fingerprint",
    "status",
    "last_used_at",
)
INSTANCE_FIELDS = (
    "instance_id",
    "image_id",
    "state_id",
    "name",
    "created_at",
    "expires_at",
    "runtime_id",
    "status",
)
STATE_FIELDS = (
    "state_id",
    "parent_state_id",
    "image_id",
    "prepare_kind",
    "prepare_args_normalized",
    "created_at",
    "size_bytes",
    "last_used_at",
    "use_count",
    "min_retention_until",
    "refcount",
)
JOB_FIELDS = (
    "job_id",
    "status",
    "prepare_kind",
    "image_id",
    "resolved_image_id",
    "prepare_args_normalized",
    "signature",
    "created_at",
    "started_at",
    "finished_at",
    "plan_only",
)
image_entry = _fields(
    "image_id",
    "references",
    "digest",
    "version",
    "major",
    "origin",
    "extensions",
    "size_bytes",
    "bin_dir",
)
dump_entry = _fields("dump_id", "size_bytes", "created_at", "last_used_at", "label")
name_entry = _fields(*NAME_FIELDS)
instance_entry = _fields(*INSTANCE_FIELDS)
state_entry = _fields(*STATE_FIELDS)
_job_status = _fields(
    "job_id",
    "status",
    "prepare_kind",
    "image_id",
    "prepare_args_normalized",
    "created_at",
    "started_at",
    "finished_at",
    "result",
    "error",
)
_plan_task = _fields(
    "task_id",
    "type",
    "planner_kind",
    "image_id",
    "resolved_image_id",
    "task_hash",
    "output_state_id",
    "cached",
    "instance_mode",
    "changeset_id",
    "changeset_author",
    "changeset_path",
)
_task_extra = _fields("job_id", "status", "args_summary")


def instance_details(instance: Instance) -> Json:
    """Return an instance with the fields that lists omit, such as the DSN with its password."""
    details = instance_entry(instance)
    details |= {"dsn": instance.dsn, "port": instance.port, "protected": instance.protected}
    if instance.ttl is not None:
        details["ttl"] = durations.format(instance.ttl)
    return details


def job_status(job: Job, tasks: list[Task]) -> Json:
    """Return a job with its tasks and its result or error."""
    status = _job_status(job)
    if job.plan_only:
        status["plan_only"] = True
    if tasks:
        status["tasks"] = [plan_task(task) for task in tasks]
    return status


def plan_task(task: Task) -> Json:
    """Return a task as part of a plan, without a status."""
    entry = _plan_task(task)
    if task.input_id is not None:
        entry["input"] = {"kind": task.input_kind, "id": task.input_id}
    return entry


def task_entry(task: Task) -> Json:
    """Return a task as an entry of a list."""
    return plan_task(task) | _task_extra(task)


def location(kind: str, ident: str) -> str:
    """Return the path of a resource."""
    return f"/v1/{kind}/{ident}"


def delete_result(result: DeleteResult) -> Json:
    """Return the outcome of a deletion, with its tree."""
    return {
        "dry_run": result.dry_run,
        "outcome": result.outcome,
        "root": _delete_tree(result.root),
    }


def delete_reply(result: DeleteResult) -> Reply:
    """Return the response to a deletion: 409 if it is blocked, except for a dry run."""
    blocked = result.outcome == "blocked" and not result.dry_run
    return json_reply(delete_result(result), status=409 if blocked else 200)


def _delete_tree(root: Node) -> Json:
    """Return a deletion tree of at most ``DEEPEST`` levels.

    Descendants of a node on the last level follow that node in the same list. There is no
    recursion, because chains of states have any length.
    """
    tops: list[Json] = []
    waiting = [(root, tops, 1)]
    while waiting:
        node, siblings, level = waiting.pop()
        entry = _delete_node(node)
        siblings.append(entry)
        children = siblings
        if node.children and level < DEEPEST:
            children = entry["children"] = []
            level += 1
        waiting += [(child, children, level) for child in reversed(node.children)]
    return tops[0]


def _delete_node(node: Node) -> Json:
    entry: Json = {"kind": node.kind, "id": node.id}
    for key in ("connections", "blocked", "runtime_id"):
        value = getattr(node, key)
        if value is not None:
            entry[key] = value
    return entry
