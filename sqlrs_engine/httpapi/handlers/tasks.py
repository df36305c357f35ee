"""Handlers of the tag ``tasks``."""

from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, list_reply
from sqlrs_engine.httpapi.serializers import task_entry
from sqlrs_engine.httpapi.services import Services


async def list_tasks(services: Services, request: Request, job: str | None = None) -> Reply:
    """List all tasks, or the tasks of a job."""
    tasks = services.store.jobs.tasks(job)
    return list_reply([task_entry(task) for task in tasks], request.media_type)
