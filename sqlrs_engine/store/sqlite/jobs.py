"""Rows of jobs, with their tasks and events."""

from collections.abc import Iterator, Sequence
from typing import Any

from pony import orm

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.errors import NotFound
from sqlrs_engine.store.records import Job, JobStatus, Json, Task

from . import events as blocks
from .database import Database
from .hot_reads import EVENT_COUNT, JOBS, TASKS
from .rows import Rows

_JOBS = Rows(Job)
_TASKS = Rows(Task, relations={"job_id": "job"})

# Pony has no bulk update: row by row, a job with 2,000 tasks holds the write lock for 100 ms
# instead of 3.
_END_TASKS = "UPDATE tasks SET status = $status WHERE job_id = $job_id AND status = $unsettled"


class Jobs:
    """``JobStore`` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._entities = database.entities

    def get(self, job_id: str) -> Job | None:
        """Return the job."""
        with self._database.reading_past_pony() as session:
            return JOBS.get(session, job_id)

    def with_key(self, idempotency_key: str) -> Job | None:
        """Return the job that was submitted with a key."""
        with self._database.reading():
            found = self._entities.Job.select(idempotency_key=idempotency_key)
            row = self._with_lazy_columns(found).first()
            return row and _JOBS.record(row)

    def find(self, id_prefix: str | None = None) -> list[Job]:
        """Return the jobs, or those whose id starts with the prefix (any length)."""
        with self._database.reading_past_pony() as session:
            return JOBS.find(session, JOBS.where().prefix("job_id", id_prefix))

    def find_json(
        self, id_prefix: str | None, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the jobs as JSON; see ``store``."""
        where = JOBS.where().prefix("job_id", id_prefix)
        return JOBS.pages(self._database, fields, where, separator)

    def add(self, job: Job) -> None:
        """Insert a job."""
        attributes = _JOBS.attributes(job)
        with self._database.writing():
            self._entities.Job(**attributes)

    def update(self, job_id: str, **changes: Any) -> Job | None:
        """Change these fields and return the new record."""
        attributes = _JOBS.changes(changes)
        with self._database.writing() as session:
            row = self._entities.Job.get(job_id=job_id)
            if row is None:
                return None
            row.set(**attributes)
            return JOBS.get(session, job_id)

    def finish(
        self,
        job_id: str,
        status: JobStatus,
        finished_at: Timestamp,
        *,
        result: Json | None = None,
        error: Json | None = None,
        first_event: int = 0,
        events: Sequence[bytes] = (),
    ) -> Job | None:
        """Make a job terminal, settle its tasks and store its last events; see ``JobStore``."""
        attributes = _JOBS.changes(
            {"status": status, "finished_at": finished_at, "result": result, "error": error}
        )
        unsettled = ("running",) if status == "failed" else ("running", "queued")
        with self._database.writing() as session:
            row = self._entities.Job.get(job_id=job_id)
            if row is not None and row.status not in ("succeeded", "failed"):
                row.set(**attributes)
                for each in unsettled:
                    self._database.execute(_END_TASKS, status=status, job_id=job_id, unsettled=each)
                blocks.append(session, self._entities, job_id, first_event, events)
            return JOBS.get(session, job_id)

    def remove(self, job_id: str) -> bool:
        """Delete a job with its tasks and events; return whether it was there."""
        rows = self._entities.Job
        removed = self._database.freeing(lambda: rows.select(job_id=job_id).delete(bulk=True))
        if removed:
            self._database.shrink()
        return bool(removed)

    def finished_before(self, moment: Timestamp, limit: int) -> list[str]:
        """Return the ids of jobs that finished before a moment, the oldest first."""
        job = self._entities.Job
        with self._database.reading():
            rows = job.select(lambda j: j.finished_at < moment).order_by(job.finished_at)
            return [row.job_id for row in rows[:limit]]

    def finished_beyond(self, number: int, limit: int) -> list[str]:
        """Return the ids of finished jobs except the latest ``number``, the latest first."""
        job = self._entities.Job
        with self._database.reading():
            rows = job.select(lambda j: j.finished_at is not None)
            latest = rows.order_by(orm.desc(job.finished_at))
            return [row.job_id for row in latest[number : number + limit]]

    def finished_with(self, signature: str) -> list[str]:
        """Return the ids of the finished jobs of a signature, the latest first."""
        job = self._entities.Job
        with self._database.reading():
            found = orm.select(
                (j.finished_at, j.job_id)
                for j in job
                if j.signature == signature and j.finished_at is not None
            )
            return [job_id for _, job_id in sorted(found, reverse=True)]

    def unfinished(self) -> list[Job]:
        """Return the queued and running jobs whose rows can be read."""
        return [job for _, job in self._unfinished() if job is not None]

    def unreadable(self) -> list[str]:
        """Return the ids of the queued and running jobs that ``unfinished`` leaves out."""
        return [job_id for job_id, job in self._unfinished() if job is None]

    def _unfinished(self) -> list[tuple[str, Job | None]]:
        job = self._entities.Job
        with self._database.reading():
            # Spelt as in the index `jobs_unfinished`, which serves only a condition it knows.
            rows = job.select(lambda j: j.status in ("queued", "running"))
            ordered = self._with_lazy_columns(rows).order_by(job.created_at, job.job_id)
            return [(row.job_id, _readable(row)) for row in ordered]

    def _with_lazy_columns(self, jobs: Any) -> Any:
        """Return a query of whole jobs.

        Pony would read lazy columns job by job, and fail if one is deleted meanwhile.
        """
        job = self._entities.Job
        return jobs.prefetch(job.request, job.idempotency_key)

    def put_tasks(self, job_id: str, tasks: Sequence[Task], **changes: Any) -> None:
        """Replace the job's tasks and change these fields of the job.

        Raises NotFound when the job is gone.
        """
        attributes = _JOBS.changes(changes)
        with self._database.writing():
            job = self._entities.Job.get(job_id=job_id)
            if job is None:
                raise NotFound.of("job", job_id)
            job.set(**attributes)
            self._entities.Task.select(job=job).delete(bulk=True)
            for task in tasks:
                self._entities.Task(**_TASKS.attributes(task) | {"job": job})

    def tasks(self, job_id: str | None = None) -> list[Task]:
        """Return the tasks of a job, or of all jobs."""
        with self._database.reading_past_pony() as session:
            return TASKS.find(session, TASKS.where().equal(job_id=job_id))

    def update_task(self, job_id: str, task_id: str, **changes: Any) -> None:
        """Change these fields of a task; a task that is gone is ignored."""
        attributes = _TASKS.changes(changes)
        with self._database.writing():
            row = self._entities.Task.get(job=job_id, task_id=task_id)
            if row is not None:
                row.set(**attributes)

    def append_events(self, job_id: str, first: int, lines: Sequence[bytes]) -> None:
        """Store encoded events (one JSON object each, no newline) from index ``first``.

        The events of a job that is gone are ignored.
        """
        with self._database.writing() as session:
            if JOBS.has(session, job_id):
                blocks.append(session, self._entities, job_id, first, lines)

    def events(self, job_id: str, start: int, limit: int) -> list[bytes]:
        """Return up to ``limit`` encoded events from index ``start``."""
        with self._database.reading_past_pony() as session:
            return blocks.read(session, job_id, start, limit)

    def event_count(self, job_id: str) -> int:
        """Return the number of events of the job."""
        with self._database.reading_past_pony() as session:
            return int(session.row(EVENT_COUNT, job_id=job_id) or 0)


def _readable(row: Any) -> Job | None:
    try:
        return _JOBS.record(row)
    except ValueError:  # not the JSON that was written there
        return None
