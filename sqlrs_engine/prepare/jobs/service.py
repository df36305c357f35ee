"""The jobs of one engine: taken, run in the background, cancelled, deleted, resumed."""

import contextlib
import logging
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from sqlrs_engine import ids
from sqlrs_engine.clock import Timestamp, shift
from sqlrs_engine.deletion import ACTIVE_TASKS, DeleteResult, Node
from sqlrs_engine.errors import (
    ENGINE_STOPPING,
    Cancelled,
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
from sqlrs_engine.processes.cancellation import Cancellation, Interrupted
from sqlrs_engine.store.records import Job

from .end import End
from .events import EventLog
from .job import JobRun, Services
from .retention import MAX_AGE, MAX_FINISHED, MAX_IDENTICAL, Retention

# Jobs under way at once; how many of them run SQL is decided by the builder.
_THREADS = 64
_DELETE_PATIENCE_SECONDS = 30.0

_log = logging.getLogger(__name__)


class PrepareService:
    """Prepare jobs; safe to use from any thread."""

    def __init__(self, tools: Services) -> None:
        self._tools = tools
        self._pool = ThreadPoolExecutor(_THREADS, "job")
        self._changed = threading.Condition()
        self._controls: dict[str, Cancellation] = {}
        self._planning: set[Cancellation] = set()  # for plans that are no jobs
        self._stopping = False
        self._retention = Retention(
            tools.jobs,
            lambda: int(tools.settings.value(MAX_IDENTICAL)),
            tools.events.followed,
            most=lambda: int(tools.settings.value(MAX_FINISHED)),
            oldest=self._oldest,
        )
        self._durable = threading.Event()
        threading.Thread(target=self._make_durable, name="durability", daemon=True).start()

    @property
    def events(self) -> EventLog:
        """The jobs' events."""
        return self._tools.events

    def submit(self, request: PrepareRequest, *, idempotency_key: str | None = None) -> Job:
        """Check and queue a job, or return the one that was submitted with the key before.

        Raises InvalidArgument for anything wrong that can be seen now, IdempotencyKeyReused
        when the key belongs to another request, Unavailable when the engine is stopping.
        """
        if (there := self._submitted(request, idempotency_key)) is not None:
            return there
        parse_image(request.image_id)
        normalized = self._tools.planner.check(request)
        job = Job(
            job_id=ids.new_id(),
            status="queued",
            prepare_kind=request.prepare_kind,
            image_id=request.image_id,
            request=request.to_json(),
            created_at=self._tools.clock(),
            plan_only=request.plan_only,
            prepare_args_normalized=normalized,
            idempotency_key=idempotency_key,
        )
        with self._changed:
            if self._stopping:
                raise Unavailable(ENGINE_STOPPING)
            if (there := self._submitted(request, idempotency_key)) is not None:
                return there
            self._tools.jobs.add(job)
            try:
                self._enqueue(job)
            except Exception:
                # It is accepted by now, so it has to come to an end.
                _log.exception("job %s cannot start now", job.job_id)
                self._resume_later(job.job_id)
        return job

    def _submitted(self, request: PrepareRequest, idempotency_key: str | None) -> Job | None:
        if idempotency_key is None:
            return None
        job = self._tools.jobs.with_key(idempotency_key)
        if job is not None and job.request != request.to_json():
            raise IdempotencyKeyReused
        return job

    def plan(self, request: PrepareRequest) -> Plan:
        """Return what a request comes to, without making a job of it.

        Raises what ``submit`` does, ImageUnavailable, and for changelogs LiquibaseUnavailable
        and StepFailed.
        """
        distribution = self._tools.images.resolve(request.image_id)
        settings = self._tools.settings.value("postgres.settings") or {}
        control = Cancellation()
        with self._changed:
            if self._stopping:
                raise Unavailable(ENGINE_STOPPING)
            self._planning.add(control)
        try:
            context = JobContext(control, lambda line: None)
            plan = self._tools.planner.plan(request, distribution, settings, context)
            plan.close()
        except Interrupted:
            raise Unavailable(ENGINE_STOPPING) from None
        finally:
            with self._changed:
                self._planning.discard(control)
        return plan

    def cancel(self, job_id: str) -> tuple[Job, bool]:
        """Cancel a job; also return whether it was not over yet. Raises NotFound."""
        job = self._get(job_id)
        if job.status in ("succeeded", "failed"):
            return job, False
        with self._changed:
            control = self._controls.get(job_id)
            if control is None and not self._stopping:
                self._cancel_stranded(job_id)
        if control is not None:
            control.cancel()
        return self._get(job_id), True

    def delete(self, job_id: str, *, force: bool = False, dry_run: bool = False) -> DeleteResult:
        """Delete a job, its tasks and events; its states and its instance stay.

        ``force`` cancels it first. Raises NotFound, Unavailable when it does not end.
        """
        active = self._get(job_id).status in ("queued", "running")
        blocked = ACTIVE_TASKS if active and not force else None
        if not blocked and not dry_run:
            if active:
                self.cancel(job_id)
            # Also when it is over: its thread may have a last thing to do.
            if not self._await_end([job_id], _DELETE_PATIENCE_SECONDS):
                raise Unavailable("the job does not end: try again in a moment", job_id)
            self._tools.events.keep(job_id)
            self._tools.jobs.remove(job_id)
        return DeleteResult.of(Node(kind="job", id=job_id, blocked=blocked), dry_run=dry_run)

    def read(self, job: Job) -> None:
        """Note that a client was shown this record."""
        if job.status in ("succeeded", "failed") and self._retention.is_unread(job.job_id):
            # In the background: the answer must neither wait for the write nor fail with it.
            with contextlib.suppress(RuntimeError):  # the pool is shut: the engine stops
                self._pool.submit(self._read, job)

    def recover(self) -> None:
        """Resume the jobs that an earlier engine left."""
        for job_id in self._tools.jobs.unreadable():
            try:
                self._write_off(job_id)
            except Exception:
                _log.exception("job %s can neither be resumed nor ended", job_id)
        for found in self._tools.jobs.unfinished():
            try:
                self._resume(found.job_id)
            except Exception:
                _log.exception("job %s cannot be resumed now", found.job_id)
                self._resume_later(found.job_id)
        self._durable.set()
        self._retention.retire_old()

    def active(self) -> int:
        """Return how many jobs are queued or running.

        Without the lock, which is held over writes: the event loop asks ten times a second.
        """
        return len(self._controls)

    def shutdown(self, seconds: float) -> None:
        """Interrupt the jobs so that they resume at the next start; wait at most so long."""
        with self._changed:
            self._stopping = True
            controls = dict(self._controls)
            planning = [*self._planning]
        for control in (*controls.values(), *planning):
            control.interrupt()
        if not self._await_end(controls, seconds):
            _log.warning("%d jobs did not stop in time", self.active())
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._tools.planner.stop()
        self._tools.events.shut()
        self._durable.set()

    def _oldest(self) -> Timestamp | None:
        """Return the moment before which the jobs ended that are too old now."""
        age = self._tools.settings.seconds(MAX_AGE)
        return shift(self._tools.clock(), -age) if age > 0 else None

    def _get(self, job_id: str) -> Job:
        job = self._tools.jobs.get(job_id)
        if job is None:
            raise NotFound.of("job", job_id)
        return job

    def _read(self, job: Job) -> None:
        try:
            self._retention.read(job)
        except EngineError as error:
            _log.warning("older jobs like %s are not retired now: %s", job.job_id, error)

    def _retire_like(self, ended: Job) -> None:
        try:
            self._retention.finished(ended)
        except Exception as error:
            _log.warning("older jobs like %s are not retired now: %s", ended.job_id, error)

    def _cancel_stranded(self, job_id: str) -> None:
        """Cancel a job of an earlier engine that has not been resumed yet."""
        self._fail(job_id, Cancelled("job cancelled", "cancelled on request; submit it again"))

    def _write_off(self, job_id: str) -> None:
        """End a job whose row is damaged, so that it can be read and deleted again."""
        _log.warning("job %s cannot be resumed: its row is damaged", job_id)
        self._tools.jobs.update(job_id, request={}, result=None, error=None)
        self._fail(
            job_id, StoreDamaged("the job's record is damaged: submit the job again", job_id)
        )

    def _fail(self, job_id: str, error: EngineError) -> None:
        """End a job that does not run."""
        tools = self._tools
        End.failure(error).store(job_id, tools.jobs, tools.events, tools.clock)

    def _resume_later(self, job_id: str) -> None:
        self._tools.chores.later(f"start job {job_id}", lambda: self._resume(job_id))

    def _resume(self, job_id: str) -> None:
        """Hand a job to the pool, unless it is there already, or over."""
        with self._changed:
            if self._stopping or job_id in self._controls:
                return
            job = self._tools.jobs.get(job_id)
            if job is not None and job.status in ("queued", "running"):
                _log.info("resuming job %s", job_id)
                self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        """Hand a job to the pool, or change nothing. The caller holds the lock."""
        self._tools.events.open(job.job_id)
        control = Cancellation()
        self._controls[job.job_id] = control
        self._retention.started(job.job_id)
        if job.status == "queued":
            self._tools.events.append(job.job_id, "status", status="queued")
        try:
            self._pool.submit(self._run, job, control)
        except RuntimeError as error:
            # No thread to be had. It waits in the pool's queue all the same.
            _log.warning("job %s waits: %s", job.job_id, error)
            self._tools.chores.later("find threads for jobs", self._find_thread)

    def _find_thread(self) -> None:
        if not self._stopping:
            self._pool.submit(lambda: None)

    def _run(self, job: Job, control: Cancellation) -> None:
        ended = None
        try:
            ended = JobRun(job, control, self._tools).run()
            if ended is not None:
                self._retire_like(ended)
        except Exception:
            _log.exception("job %s is left for the next start", job.job_id)
        finally:
            if ended is None:
                self._retention.gone(job.job_id)
            if not self._stopping:
                self._tools.events.close(job.job_id, suspended=ended is None)
            with self._changed:
                self._controls.pop(job.job_id, None)
                self._changed.notify_all()
            self._durable.set()

    def _await_end(self, job_ids: Iterable[str], seconds: float) -> bool:
        waited_for = list(job_ids)
        deadline = time.monotonic() + seconds
        with self._changed:
            return self._changed.wait_for(
                lambda: not any(job_id in self._controls for job_id in waited_for),
                max(0.0, deadline - time.monotonic()),
            )

    def _make_durable(self) -> None:
        """Write the states of finished jobs to the disk, in the background."""
        while self._durable.wait() and not self._stopping:
            self._durable.clear()
            try:
                self._tools.states.make_durable()
            except Exception:
                _log.exception("states are not known to be on the disk yet")
