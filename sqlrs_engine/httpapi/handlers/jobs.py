"""Handlers of the tag ``jobs``."""

from functools import partial

from sqlrs_engine.errors import NotFound
from sqlrs_engine.httpapi.request import Request
from sqlrs_engine.httpapi.responses import Reply, Response, created, json_reply, pages_reply
from sqlrs_engine.httpapi.serializers import JOB_FIELDS, delete_reply, job_status, location
from sqlrs_engine.httpapi.streams import event_stream
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store.records import Job, Json


async def list_prepare_jobs(request: Request) -> Response:
    """List jobs, all or those whose id starts with a prefix."""
    prefix = request.query.get("job")
    find = partial(request.services.store.jobs.find_json, prefix, JOB_FIELDS)
    return pages_reply(find, request.inputs.media_type)


async def create_prepare_job(request: Request) -> Reply:
    """Queue a job."""
    job = await request.call(_submit, request)
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


async def get_prepare_job(request: Request) -> Reply:
    """Get a job with its tasks and its result or error."""
    job = _job(request)
    reply = json_reply(_status(request, job))
    request.services.prepare.read(job)
    return reply


async def cancel_prepare_job(request: Request) -> Reply:
    """Cancel a job: 202 when that was still possible, 200 when it had ended."""
    job, issued = await request.call(request.services.prepare.cancel, request.inputs.path["jobId"])
    return json_reply(_status(request, job), status=202 if issued else 200)


async def delete_prepare_job(request: Request) -> Reply:
    """Delete a job, or say what would be deleted or blocks it."""
    result = await request.call(
        request.services.prepare.delete,
        request.inputs.path["jobId"],
        force=request.query.get("force", False),
        dry_run=request.query.get("dry_run", False),
    )
    return delete_reply(result)


async def stream_prepare_job_events(request: Request) -> Response:
    """Follow a job's events until it has ended."""
    return await event_stream(request, _job(request).job_id)


def _submit(request: Request) -> Job:
    asked = PrepareRequest.from_json(request.body)
    return request.services.prepare.submit(asked, idempotency_key=request.idempotency_key())


def _job(request: Request) -> Job:
    job_id = request.inputs.path["jobId"]
    job = request.services.store.jobs.get(job_id)
    if job is None:
        raise NotFound.of("job", job_id)
    return job


def _status(request: Request, job: Job) -> Json:
    return job_status(job, request.services.store.jobs.tasks(job.job_id))
