"""Handlers of the tag ``tasks``."""

from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply, list_reply
from sqlrs_engine.httpapi.serializers import task_entry


async def list_tasks(request: Request) -> Reply:
    """List tasks, all or those of a job."""
    tasks = request.services.store.jobs.tasks(request.query.get("job"))
    return list_reply([task_entry(task) for task in tasks], request.inputs.media_type)
