"""One job from its start to its end: resolve, plan, build what is missing, hand over."""

import errno
import logging
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlrs_engine.clock import Clock, seconds_between
from sqlrs_engine.config import Config
from sqlrs_engine.errors import (
    DISK_FULL,
    ENGINE_FAILED,
    Cancelled,
    Conflict,
    EngineError,
    StorageFull,
    StoreDamaged,
)
from sqlrs_engine.host.disk_space import with_relief
from sqlrs_engine.host.file_descriptors import shortage
from sqlrs_engine.instances import Instances
from sqlrs_engine.instances.disk_budget import DiskBudget, Unlimited
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.errors import ServerUnusable, StateUnusable
from sqlrs_engine.prepare.build.builder import Builder
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Plan, Rewritten, tasks_of
from sqlrs_engine.prepare.planner import Planner
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.processes.cancellation import Cancellation, Interrupted
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.states.leases import Lease, Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import JobStore
from sqlrs_engine.store.records import Instance, Job, Json

from .end import End
from .events import EventLog

_RETRY_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Images(Protocol):
    """Finds PostgreSQL."""

    def resolve(self, image: str) -> Distribution:
        """Return the distribution an image means. Raises ImageUnavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What all jobs share."""

    jobs: JobStore
    events: EventLog
    images: Images
    planner: Planner
    builder: Builder
    states: States
    leases: Leases
    instances: Instances
    settings: Config
    clock: Clock
    metrics: Metrics = field(default_factory=Metrics)
    room: DiskBudget = field(default_factory=Unlimited)
    chores: RetryQueue = field(default_factory=RetryQueue)


class JobRun:
    """Runs a job once; after an interruption another run begins at the beginning."""

    def __init__(self, job: Job, control: Cancellation, tools: Services) -> None:
        self._job = job
        self._control = control
        self._tools = tools
        self._context = JobContext(control, self._log)
        self._task: str | None = None
        self._built = False
        self._stored: set[str] = set()  # the tasks whose success the store knows already

    def run(self) -> Job | None:
        """Run to the end and return the terminal record; None when interrupted.

        Whatever goes wrong becomes the job's error.
        """
        ended = self._run()
        if ended is not None and ended.finished_at is not None:
            self._tools.metrics.job_ended(
                ended.prepare_kind,
                ended.status,
                seconds_between(ended.created_at, ended.finished_at),
                self._kind_of_end(ended),
            )
        return ended

    def _kind_of_end(self, ended: Job) -> str:
        if ended.status == "failed":
            return "failed"
        if ended.plan_only:
            return "planned"
        return "built" if self._built else "cached"

    def _run(self) -> Job | None:
        try:
            end = End("succeeded", result=self._perform())
        except Interrupted:
            return None
        except Exception as error:
            end = self._failed(self._explained(error))
        return self._finish(end)

    def _perform(self) -> Json | None:
        tools = self._tools
        self._control.check()
        request = PrepareRequest.from_json(self._job.request)
        tools.jobs.update(self._job.job_id, status="running", started_at=tools.clock())
        self._event("status", status="running")
        try:
            return self._prepared(request)
        except Rewritten as change:
            self._log(f"a script wrote a file that it reads: running it again: {change.details}")
            return self._prepared(request)

    def _prepared(self, request: PrepareRequest) -> Json | None:
        """Plan, build what is missing, and hand over."""
        tools = self._tools
        with closing(self._plan(request)) as plan:
            self._store_plan(request, plan)
            if request.plan_only:
                return None
            # Whatever is there now stays as long as it is needed.
            with tools.leases.lease(*plan.state_ids) as lease:
                return self._complete(plan, lease)

    def _complete(self, plan: Plan, lease: Lease) -> Json:
        """Build what is missing and hand over; once more when something cached was damaged."""
        try:
            self._build(plan, lease)
            return self._hand_over(plan)
        except StateUnusable as damage:
            lease.renew()
            if not self._tools.builder.mend(plan, damage.state_id, self._context):
                raise
        self._build(plan, lease)
        return self._hand_over(plan)

    def _plan(self, request: PrepareRequest) -> Plan:
        """Resolve the image and plan."""
        tools = self._tools
        if "@" not in request.image_id:
            self._log(f"resolve image {request.image_id}")
        distribution = tools.images.resolve(request.image_id)
        self._log(f"resolved image {distribution.image_id}")
        self._control.check()
        return tools.planner.plan(
            request,
            distribution,
            tools.settings.value("postgres.settings") or {},
            self._context,
        )

    def _store_plan(self, request: PrepareRequest, plan: Plan) -> None:
        """Store the tasks, with what is cached."""
        job_id, tools = self._job.job_id, self._tools
        for step in plan.steps:
            if step.volatile:
                self._log(f"not cacheable: {step.volatile}")
            for note in step.notes:
                self._log(f"not part of the state's identity: {note}")
        done = self._steps_done(plan)
        cached = {state_id: n < done for n, state_id in enumerate(plan.state_ids)}
        tasks = tasks_of(plan, job_id, request.image_id, cached)
        tools.jobs.put_tasks(
            job_id,
            tasks,
            resolved_image_id=plan.image_id,
            prepare_args_normalized=plan.normalized,
            signature=plan.signature,
        )
        self._stored = {task.task_id for task in tasks if task.status == "succeeded"}
        ended = ["plan", "resolve-image"] if "@" not in request.image_id else ["plan"]
        if request.plan_only:
            self._stored = {task.task_id for task in tasks}  # they succeed with the job
            ended += [f"execute-{number}" for number in range(len(plan.steps))]
            ended.append("prepare-instance")
        for task_id in ended:
            if not request.plan_only:
                self._event("task", task_id=task_id, status="running")
            self._task_done(task_id)

    def _steps_done(self, plan: Plan) -> int:
        """Return how many steps, from the first, lead to the last state that is there.

        They need not be done, even where the states before it are gone.
        """
        counted = reversed([*enumerate(plan.state_ids, start=1)])
        return next((count for count, each in counted if self._tools.states.exists(each)), 0)

    def _build(self, plan: Plan, lease: Lease) -> None:
        """Build what is missing; what nothing more is built on is kept no longer."""
        done = self._steps_done(plan)
        lease.release(*plan.state_ids[: max(done - 1, 0)])
        for number, step in enumerate(plan.steps):
            self._control.check()
            task_id = f"execute-{number}"
            cached = number < done or self._tools.states.exists(step.state_id)
            self._tools.metrics.looked_up(hit=cached)
            if not cached:
                self._begin(task_id)
                self._built |= self._tools.builder.ensure(plan, step, self._context)
            self._task_done(task_id)
            if number >= done and step.parent_state_id is not None:
                lease.release(step.parent_state_id)

    def _hand_over(self, plan: Plan) -> Json:
        self._control.check()
        self._begin("prepare-instance")
        state_id = plan.state_ids[-1]

        def relieve(failure: StorageFull, size: int) -> bool:
            return self._tools.room.relieve("prepare_instance", failure, plan.state_ids, size)

        try:
            instance = with_relief(lambda: self._create(state_id), relieve)
        except ServerUnusable as error:
            raise self._tools.builder.verdict(plan, plan.steps, error, self._context) from error
        self._stored.add("prepare-instance")  # it succeeds with the job
        self._task_done("prepare-instance")
        return {
            "dsn": instance.dsn,
            "instance_id": instance.instance_id,
            "state_id": state_id,
            "image_id": plan.image_id,
            "prepare_kind": plan.kind,
            "prepare_args_normalized": plan.normalized,
        }

    def _create(self, state_id: str) -> Instance:
        """Make the instance, or return it if it was made before."""
        instances, job_id = self._tools.instances, self._job.job_id
        try:
            return instances.create(state_id, made_for=job_id, on_log=self._log)
        except (Conflict, StoreDamaged, ServerUnusable):
            # Made before an interruption, of a state that the job no longer comes to, or
            # broken since. Nobody was ever shown it.
            if not instances.remove_made_for(job_id):
                raise
        return instances.create(state_id, made_for=job_id, on_log=self._log)

    def _begin(self, task_id: str) -> None:
        self._task = task_id
        self._stored.discard(task_id)
        self._tools.jobs.update_task(self._job.job_id, task_id, status="running")
        self._event("task", task_id=task_id, status="running")

    def _task_done(self, task_id: str) -> None:
        self._task = None
        self._count(task_id, "succeeded")
        if task_id not in self._stored:
            self._tools.jobs.update_task(self._job.job_id, task_id, status="succeeded")
        self._event("task", task_id=task_id, status="succeeded")

    def _failed(self, error: EngineError) -> End:
        envelope = error.as_dict()
        if self._task is not None:
            self._count(self._task, "failed")
            message = error.message
            self._event(
                "task", task_id=self._task, status="failed", message=message, error=envelope
            )
        if not isinstance(error, Cancelled):
            _log.info("job %s failed: %s", self._job.job_id, error.message)
        return End("failed", error=envelope)

    def _explained(self, error: Exception) -> EngineError:
        """Return the failure as it is told: what nobody foresaw is explained."""
        lack = shortage(error)
        if lack is not None:
            _log.error("job %s: %s: %s", self._job.job_id, lack, error)
            return lack
        if isinstance(error, EngineError):
            return error
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull(DISK_FULL, str(error))
        _log.error("job %s broke", self._job.job_id, exc_info=error)
        return EngineError(ENGINE_FAILED, str(error) or None)

    def _finish(self, end: End) -> Job | None:
        """Make the job terminal, as soon as the store can take it.

        Whatever keeps it from that may pass: the disk is full or does not answer, the
        process has no descriptor left. Returns None when the engine stops before, or when
        the job was deleted.
        """
        told = False
        while True:
            try:
                return end.store(
                    self._job.job_id, self._tools.jobs, self._tools.events, self._tools.clock
                )
            except Exception as problem:
                if not told:
                    _log.warning("the end of job %s waits: %s", self._job.job_id, problem)
                    told = True
                if isinstance(problem, TypeError | ValueError) and end != _UNTELLABLE:
                    _log.error("it cannot be told", exc_info=problem)
                    end = _UNTELLABLE
                    continue
                if self._control.interrupted_within(_RETRY_SECONDS):
                    _log.error("job %s is left for the next start: %s", self._job.job_id, problem)
                    return None

    def _count(self, task_id: str, status: str) -> None:
        kind = "state_execute" if task_id.startswith("execute-") else task_id.replace("-", "_")
        self._tools.metrics.task_ended(kind, status)

    def _event(self, kind: str, **fields: Any) -> None:
        self._tools.events.append(self._job.job_id, kind, **fields)

    def _log(self, message: str) -> None:
        self._event("log", message=message)


# What an end becomes that no JSON can say.
_UNTELLABLE = End.failure(EngineError(ENGINE_FAILED, "the outcome of the job could not be stored"))
