"""The run of a job: resolve the image, plan, build missing states, start the instance."""

import logging
from contextlib import closing

from sqlrs_engine.clock import seconds_between
from sqlrs_engine.errors import Cancelled, Conflict, StorageFull, StoreDamaged
from sqlrs_engine.host.disk_space import with_relief
from sqlrs_engine.postgres.errors import ServerUnusable, StateUnusable
from sqlrs_engine.prepare.build.stretch import Work
from sqlrs_engine.prepare.draft import Draft
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.observation.observer import Observer
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.prepare.step import Outdated
from sqlrs_engine.prepare.tasks import PREPARE_INSTANCE, is_resolved, tasks_of
from sqlrs_engine.processes.cancellation import Cancellation, Interrupted
from sqlrs_engine.states.leases import Lease
from sqlrs_engine.store.records import Instance, Job, Json, Task

from .end import End, explained
from .progress import Progress
from .services import Services
from .step_report import StepReport

_log = logging.getLogger(__name__)


class JobRun:
    """Runs a job once; after an interruption another run starts at the beginning."""

    def __init__(
        self, job: Job, draft: Draft | None, cancellation: Cancellation, services: Services
    ) -> None:
        """``draft`` is the job's request as it was read at submission, None after a restart."""
        self._job = job
        self._draft = draft
        self._cancellation = cancellation
        self._services = services
        self._progress = Progress(job.job_id, services.jobs, services.events, services.metrics)
        self._context = JobContext(cancellation, self._progress.log)
        self._built = False

    def run(self) -> Job | None:
        """Run to the end and return the terminal record; None when interrupted.

        Any failure becomes the job's error.
        """
        try:
            end = End("succeeded", result=self._perform())
        except Interrupted:
            return None
        except Exception as error:
            end = self._failed(error)
        job = end.store_eventually(self._job.job_id, self._services, self._cancellation)
        if job is not None and job.finished_at is not None:
            seconds = seconds_between(job.created_at, job.finished_at)
            self._services.metrics.job_ended(
                job.prepare_kind, job.status, seconds, self._kind_of_end(job)
            )
        return job

    def _kind_of_end(self, job: Job) -> str:
        if job.status == "failed":
            return "failed"
        if job.plan_only:
            return "planned"
        return "built" if self._built else "cached"

    def _failed(self, failure: Exception) -> End:
        error = explained(failure, self._job.job_id)
        self._progress.failed(error)
        if not isinstance(error, Cancelled):
            _log.info("job %s failed: %s", self._job.job_id, error.message)
        return End.failure(error)

    def _perform(self) -> Json | None:
        services = self._services
        self._cancellation.check()
        draft = self._draft
        request = draft.request if draft else PrepareRequest.from_json(self._job.request)
        services.jobs.update(self._job.job_id, status="running", started_at=services.clock())
        self._progress.job_runs()
        try:
            return self._prepare(request)
        except Outdated as change:
            self._context.log(f"{change.note}: {change.details}")
            return self._prepare(request)

    def _prepare(self, request: PrepareRequest) -> Json | None:
        """Plan, build the missing states, and create the instance."""
        with (
            closing(self._plan(request)) as plan,
            closing(self._services.observation.of(plan, self._context)) as observer,
        ):
            if request.plan_only:
                done = self._steps_done(plan, observer)
                self._progress.only_planned(self._store_plan(plan, done))
                return None
            # States that exist now stay as long as they are needed.
            with self._services.leases.lease(*plan.leased_ids) as lease:
                done = self._steps_done(plan, observer)
                self._progress.planned(self._store_plan(plan, done))
                result = self._complete(plan, done, lease, observer)
            if observer.traced is not None:
                result["traced_inputs"] = observer.traced
            return result

    def _plan(self, request: PrepareRequest) -> Plan:
        """Resolve the image and plan, from what was read at submission if that is unchanged."""
        services = self._services
        origin = services.origins.find(request)
        image = origin.image_id if origin else services.origins.image(request)
        if not is_resolved(image):
            self._context.log(f"resolve image {image}")
        distribution = services.images.resolve(image, self._context)
        self._context.log(f"resolved image {distribution.image_id}")
        self._cancellation.check()
        draft, self._draft = self._draft, None
        if draft is None or not draft.holds(services.configured()):
            draft = services.draft(request)
        return draft.plan(
            distribution,
            self._context,
            origin.state_id if origin else None,
            services.observation.observed.resolve,
        )

    def _store_plan(self, plan: Plan, done: int) -> list[Task]:
        """Store the tasks and return them; the first ``done`` steps are cached."""
        for step in plan.steps:
            if step.volatile:
                self._context.log(f"not cacheable: {step.volatile}")
            for note in step.notes:
                self._context.log(f"no planned input, counts as far as it is observed: {note}")
        tasks = tasks_of(plan, self._job.job_id, self._job.image_id, done)
        self._services.jobs.put_tasks(
            self._job.job_id,
            tasks,
            resolved_image_id=plan.image_id,
            prepare_args_normalized=plan.normalized,
            signature=plan.signature,
        )
        return tasks

    def _steps_done(self, plan: Plan, observer: Observer) -> int:
        """Return how many steps, from the first, lead to the last state that can be used.

        They need not run, even where the states before it are gone. Raises Outdated.
        """
        exists = self._services.states.exists
        counts = range(len(plan.steps), 0, -1)
        done = next((each for each in counts if plan.can_begin_after(each, exists)), 0)
        for step in plan.steps[:done]:
            observer.check(step)
        return done

    def _complete(self, plan: Plan, done: int, lease: Lease, observer: Observer) -> Json:
        """Build missing states and create the instance; repeat once if a state is damaged."""
        try:
            self._build(plan, done, lease, observer)
            return self._hand_over(plan)
        except StateUnusable as damage:
            lease.renew()
            if not self._services.builder.repair(plan, damage.state_id, self._context):
                raise
        self._build(plan, self._steps_done(plan, observer), lease, observer)
        return self._hand_over(plan)

    def _build(self, plan: Plan, done: int, lease: Lease, observer: Observer) -> None:
        """Build the states after the first ``done``; release those that no step still needs."""
        if not done and plan.origin is not None:
            self._services.states.require(plan.origin)  # it may be gone since it was found
        report = StepReport(plan, lease, self._progress, self._services.metrics)
        report.published(done - 1)
        for number in range(done):
            report.ends(number, built=False)
        work = Work(plan=plan, observer=observer, context=self._context, report=report)
        try:
            self._cancellation.check()
            if done < len(plan.steps):
                self._services.builder.build(work, done)
        finally:
            self._built |= report.built

    def _hand_over(self, plan: Plan) -> Json:
        self._cancellation.check()
        self._progress.begin(PREPARE_INSTANCE)
        services, state_id = self._services, plan.state_ids[-1]

        def relieve(failure: StorageFull, size: int) -> bool:
            return services.disk_budget.relieve("prepare_instance", failure, plan.state_ids, size)

        try:
            instance = with_relief(lambda: self._create(state_id), relieve)
        except ServerUnusable as error:
            raise services.builder.diagnose(plan, plan.steps, error, self._context) from error
        self._progress.succeeded(PREPARE_INSTANCE, with_job=True)
        return {
            "dsn": instance.dsn,
            "instance_id": instance.instance_id,
            "state_id": state_id,
            "image_id": plan.image_id,
            "prepare_kind": plan.kind,
            "prepare_args_normalized": plan.normalized,
        }

    def _create(self, state_id: str) -> Instance:
        """Return the job's instance, made now or before an interruption."""
        creation, job_id, log = self._services.creation, self._job.job_id, self._context.log
        try:
            return creation.create(state_id, made_for=job_id, on_log=log)
        except (Conflict, StoreDamaged, ServerUnusable):
            # Made before an interruption, of a state that the job no longer comes to, or
            # broken since. No client was ever shown it.
            if not creation.remove_made_for(job_id):
                raise
        return creation.create(state_id, made_for=job_id, on_log=log)
