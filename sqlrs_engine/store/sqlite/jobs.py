"""Rows of jobs, with their tasks and events."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.errors import NotFound
from sqlrs_engine.store.records import Job, JobStatus, JobSummary, Json, Task

from . import events as blocks
from .database import Database, Session
from .rows import Table, Where

_JOBS = Table(
    Job,
    source="jobs j",
    alias="j",
    order="j.created_at, j.rowid",
    json=("request", "result", "error"),
    flags=("plan_only",),
)
_TASKS = Table(
    Task,
    source="tasks t",
    alias="t",
    order="t.job_id, t.position",
    flags=("cached",),
)
# Spelt as in the index `jobs_unfinished`, which serves only a condition it knows.
_UNFINISHED = "status IN ('queued', 'running')"


class Jobs:
    """``JobStore`` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, job_id: str) -> Job | None:
        """Return the job."""
        with self._database.reading() as session:
            return _read(session, job_id)

    def with_key(self, idempotency_key: str) -> Job | None:
        """Return the job that was submitted with a key."""
        with self._database.reading() as session:
            row = session.row(_JOBS.select("j.idempotency_key = $key"), key=idempotency_key)
        return _JOBS.record(row) if row else None

    def find(self, id_prefix: str | None = None) -> list[JobSummary]:
        """Return the jobs, or those whose id starts with the prefix (any length)."""
        where = Where("j").prefix("job_id", id_prefix)
        with self._database.reading() as session:
            rows = session.rows(_summaries(str(where), "j.created_at, j.rowid"), **where.params)
        return [*map(JobSummary._make, rows)]

    def find_json(
        self, id_prefix: str | None, fields: Sequence[str], separator: str
    ) -> Iterator[bytes]:
        """Yield the jobs as JSON; see ``store``."""
        where = Where("j").prefix("job_id", id_prefix)
        return _JOBS.pages(self._database, fields, where, separator)

    def add(self, job: Job) -> None:
        """Insert a job."""
        row = _JOBS.row(job)
        with self._database.writing():
            self._database.entities.Job(**row)

    def update(self, job_id: str, **changes: Any) -> Job | None:
        """Change columns (named as the record's fields) and return the new record."""
        columns = _JOBS.changes(changes)
        with self._database.writing() as session:
            entity = self._database.entities.Job.get(job_id=job_id)
            if entity is None:
                return None
            entity.set(**columns)
            return _read(session, job_id)

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
        """Make a job terminal, settle its tasks and store its last events, all at once.

        When it failed, tasks still running become failed and queued ones stay queued;
        when it succeeded, both become succeeded. A job that is already terminal is left
        as it is. The events are stored as by ``append_events``. Returns the record.
        """
        columns = _JOBS.changes(
            {"status": status, "finished_at": finished_at, "result": result, "error": error}
        )
        with self._database.writing() as session:
            job = _read(session, job_id)
            if job is None or job.status in ("succeeded", "failed"):
                return job
            self._database.entities.Job[job_id].set(**columns)
            settled = "status = 'running'" if status == "failed" else _UNFINISHED
            session.execute(
                f"UPDATE tasks SET status = ? WHERE job_id = ? AND {settled}",  # noqa: S608
                (status, job_id),
            )
            blocks.append(session, job_id, first_event, events)
            return _read(session, job_id)

    def remove(self, job_id: str) -> bool:
        """Delete a job with its tasks and events and say whether it was there."""
        sql = "DELETE FROM jobs WHERE job_id = ?"
        removed = self._database.freeing(lambda session: bool(session.execute(sql, (job_id,))))
        if removed:
            self._database.shrink()
        return removed

    def finished_before(self, moment: Timestamp, limit: int) -> list[str]:
        """Return the ids of jobs that were over by then, the oldest first."""
        with self._database.reading() as session:
            return session.rows(
                "SELECT job_id FROM jobs WHERE finished_at < $moment"
                " ORDER BY finished_at LIMIT $limit",
                moment=moment,
                limit=limit,
            )

    def finished_beyond(self, number: int, limit: int) -> list[str]:
        """Return the ids of jobs that are over, but for the latest ``number``."""
        with self._database.reading() as session:
            return session.rows(
                "SELECT job_id FROM jobs WHERE finished_at IS NOT NULL"
                " ORDER BY finished_at DESC LIMIT $limit OFFSET $number",
                number=number,
                limit=limit,
            )

    def unfinished(self) -> list[Job]:
        """Return the queued and running jobs, as far as their rows can be read."""
        return [job for _, job in self._unfinished() if job is not None]

    def unreadable(self) -> list[str]:
        """Return the ids of the queued and running jobs that ``unfinished`` leaves out."""
        return [job_id for job_id, job in self._unfinished() if job is None]

    def _unfinished(self) -> Iterator[tuple[str, Job | None]]:
        with self._database.reading() as session:
            rows = session.rows(_JOBS.select(f"j.{_UNFINISHED}"))
        for row in rows:
            try:
                yield row[0], _JOBS.record(row)
            except ValueError:  # not the JSON that was written there
                yield row[0], None

    def finished_with(self, signature: str) -> list[JobSummary]:
        """Return the terminal jobs of a signature, the latest finished first."""
        sql = _summaries(
            "j.signature = $signature AND j.status IN ('succeeded', 'failed')",
            "j.finished_at DESC, j.rowid DESC",
        )
        with self._database.reading() as session:
            rows = session.rows(sql, signature=signature)
        return [*map(JobSummary._make, rows)]

    def put_tasks(self, job_id: str, tasks: Sequence[Task], **changes: Any) -> None:
        """Replace the job's tasks and change its columns, at once.

        Raises NotFound when the job is gone.
        """
        rows = [_TASKS.row(task) | {"job_id": job_id} for task in tasks]
        columns = _JOBS.changes(changes)
        with self._database.writing() as session:
            job = self._database.entities.Job.get(job_id=job_id)
            if job is None:
                raise NotFound.of("job", job_id)
            job.set(**columns)
            session.execute("DELETE FROM tasks WHERE job_id = ?", (job_id,))
            for row in rows:
                self._database.entities.Task(**row)

    def tasks(self, job_id: str | None = None) -> list[Task]:
        """Return the tasks of a job, or of all jobs."""
        where = Where("t").equal(job_id=job_id)
        with self._database.reading() as session:
            rows = session.rows(_TASKS.select(str(where)), **where.params)
        return _TASKS.records(rows)

    def update_task(self, job_id: str, task_id: str, **changes: Any) -> None:
        """Change columns of a task."""
        columns = _TASKS.changes(changes)
        with self._database.writing():
            entity = self._database.entities.Task.get(job_id=job_id, task_id=task_id)
            if entity is not None:
                entity.set(**columns)

    def append_events(self, job_id: str, first: int, lines: Sequence[bytes]) -> None:
        """Store encoded events (one JSON object each, no newline) from index ``first``.

        A job that is gone is ignored: its events are of no use to anyone.
        """
        with self._database.writing() as session:
            if _exists(session, job_id):
                blocks.append(session, job_id, first, lines)

    def events(self, job_id: str, start: int, limit: int) -> list[bytes]:
        """Return up to ``limit`` encoded events from index ``start``."""
        with self._database.reading() as session:
            return blocks.read(session, job_id, start, limit)

    def event_count(self, job_id: str) -> int:
        """Return how many events the job has."""
        with self._database.reading() as session:
            return blocks.count(session, job_id)


def _summaries(where: str, order: str) -> str:
    columns = ", ".join(f"j.{name}" for name in JobSummary._fields)
    condition = f"WHERE {where}" if where else ""
    return f"SELECT {columns} FROM jobs j {condition} ORDER BY {order}"  # noqa: S608 - no input


def _read(session: Session, job_id: str) -> Job | None:
    row = session.row(_JOBS.select("j.job_id = $job_id"), job_id=job_id)
    return _JOBS.record(row) if row else None


def _exists(session: Session, job_id: str) -> bool:
    return session.row("SELECT 1 FROM jobs WHERE job_id = $job_id", job_id=job_id) is not None
