"""Records for tests of the store and of what stands on it; every field can be set."""

from typing import Any

from sqlrs_engine.clock import shift
from sqlrs_engine.store.records import Instance, Job, Name, State, Task

NOON = "2026-03-01T12:00:00.000000Z"
IMAGE = "postgres@sha256:" + "a" * 64


def at(seconds: float) -> str:
    """Return the timestamp so many seconds after noon."""
    return shift(NOON, seconds)


def state(number: int = 1, **changes: Any) -> State:
    """Return a state whose id ends with the number."""
    values = {
        "state_id": f"{number:064x}",
        "parent_state_id": None,
        "image_id": IMAGE,
        "prepare_kind": "psql",
        "prepare_args_normalized": "-c select 1 -X",
        "created_at": at(number),
    }
    return State(**(values | changes))


def instance(number: int = 1, **changes: Any) -> Instance:
    """Return an instance, of state 1, whose id ends with the number."""
    values = {
        "instance_id": f"{number:032x}",
        "image_id": IMAGE,
        "state_id": f"{1:064x}",
        "created_at": at(number),
        "port": 20000 + number,
        "password": "secret",
    }
    return Instance(**(values | changes))


def name(text: str = "demo", **changes: Any) -> Name:
    """Return a name, bound to instance 1."""
    values = {
        "name": text,
        "instance_id": f"{1:032x}",
        "image_id": IMAGE,
        "state_id": f"{1:064x}",
    }
    return Name(**(values | changes))


def job(number: int = 1, **changes: Any) -> Job:
    """Return a queued job whose id ends with the number."""
    values = {
        "job_id": f"{number:032x}",
        "status": "queued",
        "prepare_kind": "psql",
        "image_id": "postgres:17",
        "request": {"psql_args": ["-c", "select 1"]},
        "created_at": at(number),
    }
    return Job(**(values | changes))


def task(position: int = 0, **changes: Any) -> Task:
    """Return a task of job 1."""
    values = {
        "job_id": f"{1:032x}",
        "task_id": f"execute-{position}",
        "position": position,
        "type": "state_execute",
    }
    return Task(**(values | changes))
