"""Handlers of the tag ``tasks``."""

from .entries import task_entry
from .replies import Reply, list_reply
from .request import Request


async def list_tasks(request: Request) -> Reply:
    """List tasks, all or those of a job."""
    tasks = request.services.store.jobs.tasks(request.query.get("job"))
    return list_reply([task_entry(task) for task in tasks], request.inputs.media_type)
