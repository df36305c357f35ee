"""Prepare jobs for clients: submits, cancels and deletes them, and resumes them at a start."""

import logging
from functools import partial

from sqlrs_engine import ids
from sqlrs_engine.deletion import ACTIVE_TASKS, DeleteResult, Node
from sqlrs_engine.errors import (
    ENGINE_STOPPING,
    EngineError,
    IdempotencyKeyReused,
    NotFound,
    StoreDamaged,
    Unavailable,
)
from sqlrs_engine.postgres.distributions.image_names import parse_image
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.processes.cancellation import Interrupted, job_cancelled
from sqlrs_engine.store.records import Job

from .end import End
from .events import EventLog
from .queue import JobQueue
from .retention import Retention
from .services import Services

DELETE_PATIENCE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class PrepareService:
    """Prepare jobs; safe to use from any thread."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._retention = Retention(
            services.jobs, services.config, services.events.followed, services.clock
        )
        self._queue = JobQueue(services, self._retention)

    @property
    def events(self) -> EventLog:
        """The jobs' events."""
        return self._services.events

    def submit(self, request: PrepareRequest, *, idempotency_key: str | None = None) -> Job:
        """Check and queue a job, or return the one submitted earlier with the same key.

        Raises InvalidArgument for any mistake that can be detected now, NotFound when there is no
        such state to start from, SourceInputsMissing, IdempotencyKeyReused when the key belongs to
        another request, Unavailable when the engine is stopping.
        """
        if (earlier := self._submitted(request, idempotency_key)) is not None:
            return earlier
        image = self._services.origins.image(request)
        parse_image(image)
        draft = self._services.draft(request)
        job = Job(
            job_id=ids.new_id(),
            status="queued",
            prepare_kind=request.prepare_kind,
            image_id=image,
            request=request.to_json(),
            created_at=self._services.clock(),
            plan_only=request.plan_only,
            prepare_args_normalized=draft.normalized,
            idempotency_key=idempotency_key,
        )
        with self._queue.locked() as accepting:
            if not accepting:
                raise Unavailable(ENGINE_STOPPING)
            if (earlier := self._submitted(request, idempotency_key)) is not None:
                return earlier
            self._services.jobs.add(job)
            try:
                self._queue.add(job, draft)
            except Exception:
                # It is accepted by now, so it has to come to an end.
                _log.exception("job %s cannot start now", job.job_id)
                self._resume_later(job.job_id)
        return job

    def _submitted(self, request: PrepareRequest, idempotency_key: str | None) -> Job | None:
        if idempotency_key is None:
            return None
        job = self._services.jobs.with_key(idempotency_key)
        if job is not None and job.request != request.to_json():
            raise IdempotencyKeyReused
        return job

    def plan(self, request: PrepareRequest) -> Plan:
        """Return the plan of a request, without creating a job and without pulling an image.

        Raises what ``submit`` does, ImageUnavailable, and for changelogs LiquibaseUnavailable
        and StepFailed.
        """
        origin = self._services.origins.find(request)
        distribution = self._services.images.resolve(self._services.origins.image(request))
        try:
            with self._queue.planning() as cancellation:
                context = JobContext(cancellation, lambda line: None)
                draft = self._services.draft(request)
                plan = draft.plan(
                    distribution,
                    context,
                    origin.state_id if origin else None,
                    self._services.observation.observed.resolve,
                )
                plan.close()
        except Interrupted:
            raise Unavailable(ENGINE_STOPPING) from None
        return plan

    def cancel(self, job_id: str) -> tuple[Job, bool]:
        """Cancel a job; also return whether it was not over yet. Raises NotFound."""
        job = self._get(job_id)
        if job.is_over:
            return job, False
        with self._queue.locked() as accepting:
            if accepting and job_id not in self._queue:
                self._cancel_stranded(job_id)
        self._queue.cancel(job_id)
        return self._get(job_id), True

    def delete(self, job_id: str, *, force: bool = False, dry_run: bool = False) -> DeleteResult:
        """Delete a job, its tasks and events; its states and its instance stay.

        ``force`` cancels it first. Raises NotFound, Unavailable when it does not end.
        """
        active = not self._get(job_id).is_over
        blocked = ACTIVE_TASKS if active and not force else None
        if not blocked and not dry_run:
            if active:
                self.cancel(job_id)
            # Also when it has ended: its thread may still be finishing.
            if not self._queue.wait_for_end([job_id], DELETE_PATIENCE_SECONDS):
                raise Unavailable("the job does not end: try again in a moment", job_id)
            self._services.events.keep(job_id)
            self._services.jobs.remove(job_id)
        return DeleteResult.of(Node(kind="job", id=job_id, blocked=blocked), dry_run=dry_run)

    def read(self, job: Job) -> None:
        """Note that a client was shown this record."""
        if job.is_over and self._retention.is_unread(job.job_id):
            # In the background: the answer must neither wait for the write nor fail with it.
            self._queue.in_background(partial(self._retention.read, job))

    def recover(self) -> None:
        """Resume the jobs that an earlier engine left."""
        for job_id in self._services.jobs.unreadable():
            try:
                self._write_off(job_id)
            except Exception:
                # Whatever is wrong with one job, the others are resumed.
                _log.exception("job %s can neither be resumed nor ended", job_id)
        for found in self._services.jobs.unfinished():
            try:
                self._resume(found.job_id)
            except Exception:
                # Likewise.
                _log.exception("job %s cannot be resumed now", found.job_id)
                self._resume_later(found.job_id)
        self._services.durability.request()
        self._retention.retire_old()

    def active(self) -> int:
        """Return how many jobs are queued or running."""
        return len(self._queue)

    def shutdown(self, seconds: float) -> None:
        """Interrupt the jobs so that they resume at the next start; wait ``seconds`` at most."""
        self._queue.stop(seconds)
        self._services.planner.stop()
        self._services.events.stop()

    def _get(self, job_id: str) -> Job:
        job = self._services.jobs.get(job_id)
        if job is None:
            raise NotFound.of("job", job_id)
        return job

    def _cancel_stranded(self, job_id: str) -> None:
        """Cancel a job of an earlier engine that has not been resumed yet."""
        self._fail(job_id, job_cancelled())

    def _write_off(self, job_id: str) -> None:
        """End a job whose row is damaged, so that it can be read and deleted again."""
        _log.warning("job %s cannot be resumed: its row is damaged", job_id)
        self._services.jobs.update(job_id, request={}, result=None, error=None)
        self._fail(
            job_id, StoreDamaged("the job's record is damaged: submit the job again", job_id)
        )

    def _fail(self, job_id: str, error: EngineError) -> None:
        """End a job that does not run."""
        services = self._services
        End.failure(error).store(job_id, services.jobs, services.events, services.clock)

    def _resume_later(self, job_id: str) -> None:
        self._services.retries.later(f"start job {job_id}", partial(self._resume, job_id))

    def _resume(self, job_id: str) -> None:
        """Queue a job, unless it is queued already or has ended."""
        with self._queue.locked() as accepting:
            if not accepting or job_id in self._queue:
                return
            job = self._services.jobs.get(job_id)
            if job is not None and not job.is_over:
                _log.info("resuming job %s", job_id)
                self._queue.add(job)
