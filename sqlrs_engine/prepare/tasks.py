"""The tasks of a job: their ids, and what they show of its plan."""

from sqlrs_engine.postgres.distributions.image_names import parse_image
from sqlrs_engine.store.records import Task

from .plan import Plan

PLAN = "plan"
RESOLVE_IMAGE = "resolve-image"
PREPARE_INSTANCE = "prepare-instance"


def execute(number: int) -> str:
    """Return the id of the task that executes a step, counted from 0."""
    return f"execute-{number}"


def is_resolved(image: str) -> bool:
    """Return whether an image is given by its digest, so that no task has to resolve it.

    Raises InvalidArgument when it is no image name.
    """
    return parse_image(image).digest is not None


def tasks_of(plan: Plan, job_id: str, image: str, done: int) -> list[Task]:
    """Return the tasks of a job; the first ``done`` steps need not run.

    The tasks that come before the steps have succeeded by the time there is a plan.
    """
    tasks = [
        Task(
            job_id=job_id,
            task_id=PLAN,
            position=0,
            type="plan",
            status="succeeded",
            planner_kind=plan.kind,
        )
    ]
    if not is_resolved(image):
        tasks.append(
            Task(
                job_id=job_id,
                task_id=RESOLVE_IMAGE,
                position=1,
                type="resolve_image",
                status="succeeded",
                image_id=image,
                resolved_image_id=plan.image_id,
            )
        )
    for number, step in enumerate(plan.steps):
        cached = number < done
        tasks.append(
            Task(
                job_id=job_id,
                task_id=execute(number),
                position=len(tasks),
                type="state_execute",
                status="succeeded" if cached else "queued",
                input_kind="state" if step.parent_state_id else "image",
                input_id=step.parent_state_id or plan.image_id,
                task_hash=step.task_hash,
                output_state_id=step.state_id,
                cached=cached,
                **step.task(),
            )
        )
    tasks.append(
        Task(
            job_id=job_id,
            task_id=PREPARE_INSTANCE,
            position=len(tasks),
            type="prepare_instance",
            input_kind="state",
            input_id=plan.steps[-1].state_id,
            instance_mode="ephemeral",
        )
    )
    return tasks
