"""Builds states: clones the parent, runs steps, stops the server, publishes the result."""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed, EngineError, StepFailed, StorageFull
from sqlrs_engine.host.disk_space import with_relief
from sqlrs_engine.instances.disk_budget import DiskBudget, Unlimited
from sqlrs_engine.instances.servers import LOG_FILE, Servers
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.errors import ServerUnusable, SettingsUnfit, StateUnusable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.observation.findings import Findings
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.step import Site, Step
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.states import NewState, States

from .advice import advised
from .base_states import BaseStates
from .build_locks import BuildLocks
from .disk_full import full_disk_reported
from .extension_download import with_extension
from .proof import Proof
from .stretch import Ends, StateCost, Stretch, Work, run_stretch
from .workspaces import Workspaces


class Builder:
    """Builds states, each of them once, however many jobs need it."""

    def __init__(
        self,
        files: StateFiles,
        states: States,
        servers: Servers,
        build_locks: BuildLocks,
        metrics: Metrics | None = None,
        disk_budget: DiskBudget | None = None,
        retries: RetryQueue | None = None,
    ) -> None:
        self._files = files
        self._states = states
        self._servers = servers
        self._build_locks = build_locks
        self._metrics = metrics or Metrics()
        self._disk_budget = disk_budget or Unlimited()
        self._cost = StateCost()
        self._proof = Proof(states, self._disk_budget)
        self._workspaces = Workspaces(files, servers, self._metrics, retries or RetryQueue())
        self._base_states = BaseStates(
            self._workspaces, build_locks, self._disk_budget, self._metrics
        )

    def build(self, work: Work, done: int) -> None:
        """Build the last state of a plan, and those before it that are worth their cost.

        The first ``done`` steps need not run, and the state that the next one starts from is
        leased. Raises StepFailed (for the step before, if no server of its state is usable),
        Conflict when a script changed while it ran, Outdated when another job has built the state
        of other files meanwhile, StorageFull, ClusterFailed, and what
        ``context.cancellation.check`` does.
        """
        steps, cancellation = work.plan.steps, work.context.cancellation
        with self._claimed(work, done) as number:
            for other in range(done, number):  # another job has built it since the plan was made
                work.observer.check(steps[other])
                work.report.begins(other)
                work.report.ends(other, built=False)
            work.report.published(number - 1)
            while number < len(steps):
                with self._build_locks.permit(cancellation):
                    last = self._build_within_budget(work, number)
                self._build_locks.release(work.plan.state_ids[number : last + 1])
                work.report.published(last)
                number = last + 1

    @contextmanager
    def _claimed(self, work: Work, done: int) -> Iterator[int]:
        """Hold the states that are to be built; yield how many steps need not run.

        The last state is claimed first, so that jobs with the same steps wait for that: what they
        wait for is built as a state. Parents are claimed after their children by all jobs, so that
        no two wait for each other.
        """
        plan, context = work.plan, work.context
        held: list[str] = []
        try:
            for number in range(len(plan.steps) - 1, done - 1, -1):
                state_id = plan.state_ids[number]

                def waiting(state_id: str = state_id) -> None:
                    context.log(f"waiting for another job that builds state {state_id[:12]}")

                self._build_locks.acquire(state_id, context.cancellation, waiting)
                held.append(state_id)
                # Only the holder of the lock knows that no other job has built it meanwhile.
                if plan.can_begin_after(number + 1, self._states.exists):
                    done = number + 1
                    break
            yield done
        finally:
            self._build_locks.release(held)

    def repair(self, plan: Plan, state_id: str | None, context: JobContext) -> bool:
        """Have a state that does not start built again at its next use (None: the base state).

        Returns whether it is worthwhile to try once more. False means that the state is not
        damaged, because the base state does not start either; nothing is changed then.
        """
        if state_id is None:
            return self._base_states.repair(plan, context)
        base = self._base_states.ensure(plan, context)
        if not self._workspaces.starts(plan.image_id, base, plan.settings):
            return False
        state = self._files.state_dir(plan.image_id, state_id)
        with self._build_locks.hold(state_id, context.cancellation, lambda: None):
            if not self._states.exists(state_id):
                return True  # another job came to the same end
            if not self._workspaces.starts(plan.image_id, state, plan.settings):
                self._states.mark_damaged(state_id)
                context.log(f"state {state_id[:12]} is damaged: building it again")
            return True

    def diagnose(
        self, plan: Plan, steps: Sequence[Step], error: ServerUnusable, context: JobContext
    ) -> ClusterFailed | StepFailed:
        """Return the error to raise when a server of the last step's state is unusable.

        A state that is to blame is dropped. Raises ClusterFailed when the trials that show it fail.
        """

        def fails_again(state_id: str) -> bool:
            context.log(f"no server starts on state {state_id[:12]}: trying once more")
            state = self._files.state_dir(plan.image_id, state_id)
            serves, settings = self._workspaces.serves, plan.settings
            try:
                base = self._base_states.ensure(plan, context)
                return serves(plan.image_id, base, settings) and not serves(
                    plan.image_id, state, settings
                )
            except (EngineError, OSError):
                if self._states.exists(state_id):
                    raise
                return True  # another job came to the same end

        return self._proof.diagnose(steps, error, fails_again)

    def _build_within_budget(self, work: Work, first: int) -> int:
        """Build a stretch and return its last step.

        Build again when the disk was full or an extension was missing, and no longer is.
        """
        plan, context = work.plan, work.context

        def relieve(failure: StorageFull, size: int) -> bool:
            if not self._disk_budget.relieve("prepare_step", failure, plan.state_ids, size):
                return False
            context.cancellation.check()
            context.log("the disk was full: states were evicted, running the step again")
            return True

        def build() -> int:
            return with_relief(lambda: self._build(work, first), relieve)

        return with_extension(build, self._servers, plan.distribution, context)

    def _build(self, work: Work, first: int) -> int:
        plan, context, step = work.plan, work.context, work.plan.steps[first]
        began = time.monotonic()
        work.observer.expect(step)
        if step.source_state_id is None:
            source = self._base_states.ensure(plan, context)
        else:
            source = self._files.state_dir(plan.image_id, step.source_state_id)
        with self._disk_budget.building(plan.state_ids, self._files.usage(source)):
            with self._metrics.phase("clone"):
                workspace = self._files.clone_to_workspace(source)
            try:
                with full_disk_reported(workspace / LOG_FILE, self._disk_budget.exhausted):
                    stretch = self._run(work, first, source, workspace)
                size = self._files.usage(workspace)
                self._disk_budget.make_room("snapshot", plan.state_ids, size)
                with self._metrics.phase("snapshot"):
                    self._publish(plan, stretch, workspace, size)
                for number, found in stretch.findings.items():
                    work.observer.settle(plan.steps[number], found)
                self._cost.took(time.monotonic() - began - stretch.seconds)
            except BaseException:
                self._workspaces.remove(workspace)
                raise
        context.log(f"state {plan.state_ids[stretch.last][:12]} is cached")
        self._disk_budget.make_room("metadata_commit", plan.state_ids)
        return stretch.last

    def _run(self, work: Work, first: int, source: Path, workspace: Path) -> Stretch:
        """Run a stretch on a server of the workspace."""
        plan, context, step = work.plan, work.context, work.plan.steps[first]
        cluster = self._workspaces.cluster(plan.image_id, workspace)
        parent = self._unproven_parent(plan, step)
        with self._blamed(plan, parent, context):
            try:
                settings = {**step.server_settings, **plan.settings}
                port = self._workspaces.start(cluster, settings, tcp=step.tcp)
            except ServerUnusable as error:
                if parent is not None or isinstance(error, SettingsUnfit):
                    raise
                raise StateUnusable(step.source_state_id, error) from error
            if parent is not None:
                cluster.check_superuser(port)
            site = Site(cluster=cluster, port=port, container=workspace, parent=source)
            ends = Ends(self._cost.seconds, self._build_locks.is_wanted)
            with self._advised(plan):
                stretch = run_stretch(work, first, site, ends, self._metrics)
        context.cancellation.check()
        cluster.stop("fast")
        cluster.check_clean_end()
        context.cancellation.check()
        (workspace / LOG_FILE).unlink(missing_ok=True)
        return stretch

    def _advised(self, plan: Plan) -> AbstractContextManager[None]:
        return advised(plan.base, plan.distribution, self._servers.images_with)

    def _unproven_parent(self, plan: Plan, step: Step) -> Step | None:
        """Return the step that made the state that is cloned, if that is not proven."""
        parents = (each for each in plan.steps if each.state_id == step.source_state_id)
        return next(filter(self._proof.is_missing, parents), None)

    @contextmanager
    def _blamed(self, plan: Plan, parent: Step | None, context: JobContext) -> Iterator[None]:
        """Attribute an unusable server in the block to the step before, if that is the cause."""
        try:
            yield
        except ServerUnusable as error:
            if parent is None:
                raise
            raise self.diagnose(plan, [parent], error, context) from error

    def _publish(self, plan: Plan, stretch: Stretch, workspace: Path, size: int) -> None:
        steps = plan.steps[stretch.first : stretch.last + 1]
        *passed, new = [
            NewState(
                state_id=step.state_id,
                parent_state_id=step.parent_state_id,
                image_id=plan.image_id,
                prepare_kind=step.kind,
                prepare_args_normalized=plan.normalized,
                size_bytes=size if number == stretch.last else 0,
                recipe=step.recipe,
                observed=stretch.findings.get(number, Findings()).inputs,
            )
            for number, step in enumerate(steps, stretch.first)
        ]
        self._states.publish(workspace, new, passed)
