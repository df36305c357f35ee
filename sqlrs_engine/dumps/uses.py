"""The kept dumps that the requests of jobs name."""

from collections.abc import Iterable, Iterator

from sqlrs_engine.store.records import Job, Json


def jobs_with(dump_id: str, jobs: Iterable[Job]) -> list[str]:
    """Return the ids of those jobs whose requests name a dump."""
    return [job.job_id for job in jobs if dump_id in named_in(job.request)]


def named_in(request: Json) -> Iterator[str]:
    """Yield the ids of the dumps in a stored request: in its stages, or in itself."""
    for stage in (request, *(request.get("stages") or ())):
        if isinstance(stage, dict) and isinstance(stage.get("dump_id"), str):
            yield stage["dump_id"]
