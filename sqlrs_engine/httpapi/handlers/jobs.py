"""Handlers of the tag ``jobs``."""

from functools import partial

from starlette.responses import Response

from sqlrs_engine.errors import NotFound
from sqlrs_engine.httpapi.request_validation import Request
from sqlrs_engine.httpapi.responses import Reply, created, json_reply, pages_reply
from sqlrs_engine.httpapi.serializers import JOB_FIELDS, delete_reply, job_status, location
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.httpapi.streams import event_stream
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store.records import Job, Json


async def list_prepare_jobs(
    services: Services, request: Request, job: str | None = None
) -> Response:
    """List all jobs, or the jobs whose ids start with a prefix."""
    find = partial(services.store.jobs.find_json, job, JOB_FIELDS)
    return pages_reply(find, request.media_type)


async def create_prepare_job(
    services: Services, body: Json, idempotency_key: str | None = None
) -> Reply:
    """Queue a job."""
    job = await services.call(_submit, services, body, idempotency_key)
    url = location("prepare-jobs", job.job_id)
    return created(
        {
            "job_id": job.job_id,
            "status_url": url,
            "events_url": f"{url}/events",
            "status": job.status,
        },
        url,
    )


async def get_prepare_job(services: Services, job_id: str) -> Reply:
    """Get a job with its tasks and its result or error."""
    job = _job(services, job_id)
    reply = json_reply(_status(services, job))
    services.prepare.read(job)
    return reply


async def cancel_prepare_job(services: Services, job_id: str) -> Reply:
    """Cancel a job. Return 202, or 200 if the job had already ended."""
    job, issued = await services.call(services.prepare.cancel, job_id)
    return json_reply(_status(services, job), status=202 if issued else 200)


async def delete_prepare_job(
    services: Services, job_id: str, force: bool = False, dry_run: bool = False
) -> Reply:
    """Delete a job, or show what would be deleted or blocks it."""
    result = await services.call(services.prepare.delete, job_id, force=force, dry_run=dry_run)
    return delete_reply(result)


async def stream_prepare_job_events(
    services: Services, request: Request, job_id: str, range: str | None = None
) -> Response:
    """Follow a job's events until it has ended."""
    job = _job(services, job_id)
    return await event_stream(services, job.job_id, range, headers_only=request.method == "HEAD")


def _submit(services: Services, body: Json, idempotency_key: str | None) -> Job:
    asked = PrepareRequest.from_json(body)
    return services.prepare.submit(asked, idempotency_key=idempotency_key)


def _job(services: Services, job_id: str) -> Job:
    job = services.store.jobs.get(job_id)
    if job is None:
        raise NotFound.of("job", job_id)
    return job


def _status(services: Services, job: Job) -> Json:
    return job_status(job, services.store.jobs.tasks(job.job_id))
