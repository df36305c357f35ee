"""Builds states: a clone of the parent, the step done to it, a clean stop, a snapshot."""

import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import (
    DISK_FULL,
    ClusterFailed,
    Conflict,
    EngineError,
    StepFailed,
    StorageFull,
)
from sqlrs_engine.host.disk_space import with_relief
from sqlrs_engine.instances.disk_budget import DiskBudget, Unlimited
from sqlrs_engine.instances.servers import LOG_FILE, Servers
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable, SettingsUnfit, StateUnusable
from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Plan, Rewritten, Site, Step
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.states import States
from sqlrs_engine.store.records import State

from .build_locks import BuildLocks
from .disk_full import LOG_PREFIX, initdb_was_full, was_full
from .proof import Proof

_PORT_ATTEMPTS = 5

# A build writes a lot once, and its server is gone before anybody can see these.
_BUILD_SETTINGS: Mapping[str, Any] = {"shared_buffers": "128MB", "max_wal_size": "1GB"}


class Builder:
    """Builds base states and states, each of them once however many ask for it."""

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
        self._proof = Proof(states, self._disk_budget)
        self._retries = retries or RetryQueue()

    def ensure(self, plan: Plan, step: Step, context: JobContext) -> bool:
        """Build a step's state unless it is there; tell whether it was built.

        The parent must be there and leased. Raises StepFailed, of the step before when that
        has left a server of no use, Conflict when a script changed while it ran, StorageFull,
        ClusterFailed, and what ``context.cancellation.check`` does.
        """

        def waiting() -> None:
            context.log(f"waiting for another job that builds state {step.state_id[:12]}")

        with self._build_locks.hold(step.state_id, context.cancellation, waiting):
            if self._states.exists(step.state_id):
                return False
            with self._build_locks.slot(context.cancellation):
                self._build_or_make_room(plan, step, context)
        return True

    def _build_or_make_room(self, plan: Plan, step: Step, context: JobContext) -> None:
        """Build; when the disk is full, again after evictions."""

        def relieve(failure: StorageFull, size: int) -> bool:
            if not self._disk_budget.relieve("prepare_step", failure, plan.state_ids, size):
                return False
            context.cancellation.check()
            context.log("the disk was full: states were evicted, running the step again")
            return True

        with_relief(lambda: self._build(plan, step, context), relieve)

    def _build(self, plan: Plan, step: Step, context: JobContext) -> None:
        if step.parent_state_id is None or step.from_base:
            source = self._base(plan, context)
        else:
            source = self._files.state_dir(plan.image_id, step.parent_state_id)
        with self._disk_budget.building(plan.state_ids, self._files.usage(source)):
            with self._metrics.phase("clone"):
                workspace = self._files.clone_to_workspace(source)
            try:
                with self._full_disk_told(workspace):
                    self._run(plan, step, source, workspace, context)
                self._disk_budget.make_room(
                    "snapshot", plan.state_ids, self._files.usage(workspace)
                )
                with self._metrics.phase("snapshot"):
                    self._publish(plan, step, workspace)
            except BaseException:
                self._scrap(workspace)
                raise
        context.log(f"state {step.state_id[:12]} is cached")
        self._disk_budget.make_room("metadata_commit", plan.state_ids)

    def mend(self, plan: Plan, state_id: str | None, context: JobContext) -> bool:
        """Look into a state that does not start (None: the image's empty cluster).

        Nothing is changed, and False returned, when the state is not to blame: then an empty
        cluster does not start either. Otherwise what is damaged is built again at its next
        use, and it is worthwhile to try once more.
        """
        if state_id is None:
            return self._mend_base(plan, context)
        if not self._starts(plan, self._base(plan, context), plan.settings):
            return False
        directory = self._files.state_dir(plan.image_id, state_id)
        with self._build_locks.hold(state_id, context.cancellation, lambda: None):
            if not self._states.exists(state_id):
                return True  # another job came to the same end
            if not self._starts(plan, directory, plan.settings):
                self._states.doubt(state_id)
                context.log(f"state {state_id[:12]} is damaged: building it again")
            return True

    def verdict(
        self, plan: Plan, steps: Sequence[Step], error: ServerUnusable, context: JobContext
    ) -> ClusterFailed | StepFailed:
        """Return the error to raise when a server of the last step's state is of no use.

        A state that is to blame is dropped. Raises ClusterFailed when the trials that tell do.
        """

        def guilty(state_id: str) -> bool:
            context.log(f"no server starts on state {state_id[:12]}: trying once more")
            state = self._files.state_dir(plan.image_id, state_id)
            try:
                return self._serves(plan, self._base(plan, context)) and not self._serves(
                    plan, state
                )
            except (EngineError, OSError):
                if self._states.exists(state_id):
                    raise
                return True  # another job came to the same end

        return self._proof.verdict(steps, error, guilty)

    def _serves(self, plan: Plan, source: Path) -> bool:
        """Return whether the server of a clone starts and lets its user in, by TCP, too."""
        workspace = self._files.clone_to_workspace(source)
        cluster = self._servers.server(plan.image_id, workspace)
        password = secrets.token_urlsafe()
        try:
            port = self._start(cluster, plan, tcp=True)
            assert port is not None  # noqa: S101 - it was asked for
            cluster.check_superuser(port)
            cluster.set_password(port, password)
            cluster.log_in(port, password)
        except ServerUnusable:
            return False
        finally:
            self._scrap(workspace)
        return True

    def _mend_base(self, plan: Plan, context: JobContext) -> bool:
        base = self._files.base_dir(plan.image_id)
        with self._build_locks.hold(f"base {plan.image_id}", context.cancellation, lambda: None):
            if self._starts(plan, base, {}):
                return False
            self._files.discard(base)
        context.log("the base state is damaged: building it again")
        return True

    def _starts(self, plan: Plan, source: Path, settings: Mapping[str, Any]) -> bool:
        """Return whether a server starts on a clone."""
        workspace = self._files.clone_to_workspace(source)
        try:
            self._servers.server(plan.image_id, workspace).start(port=None, settings=settings)
        except ServerUnusable:
            return False
        finally:
            self._scrap(workspace)
        return True

    def _run(
        self, plan: Plan, step: Step, source: Path, workspace: Path, context: JobContext
    ) -> None:
        cluster = self._servers.server(plan.image_id, workspace)
        parent = self._unproven_parent(plan, step)
        with self._blamed(plan, parent, context):
            try:
                port = self._start(cluster, plan, tcp=step.tcp)
            except ServerUnusable as error:
                if parent is not None or isinstance(error, SettingsUnfit):
                    raise
                raise StateUnusable(
                    None if step.from_base else step.parent_state_id, error
                ) from error
            if parent is not None:
                cluster.check_superuser(port)
            with self._metrics.phase(plan.kind):
                step.run(
                    Site(cluster=cluster, port=port, container=workspace, parent=source), context
                )
        context.cancellation.check()
        cluster.stop("fast")
        cluster.check_clean_end()
        context.cancellation.check()
        (workspace / LOG_FILE).unlink(missing_ok=True)
        if changed := step.changed_files:
            kind = Rewritten if step.rewrote(changed) else Conflict
            raise kind(
                "a file changed while the job read it: prepare again",
                printable(", ".join(map(str, changed))),
            )

    def _unproven_parent(self, plan: Plan, step: Step) -> Step | None:
        """Return the step before, if its state has not proven itself and is what is cloned."""
        if step.from_base:
            return None
        parents = (each for each in plan.steps if each.state_id == step.parent_state_id)
        return next(filter(self._proof.lacking, parents), None)

    @contextmanager
    def _blamed(self, plan: Plan, parent: Step | None, context: JobContext) -> Iterator[None]:
        """Tell a server that the step before has spoilt from one that fails by itself."""
        try:
            yield
        except ServerUnusable as error:
            if parent is None:
                raise
            raise self.verdict(plan, [parent], error, context) from error

    def _start(self, cluster: Cluster, plan: Plan, *, tcp: bool) -> int | None:
        """Start a workspace's server; return its port on 127.0.0.1, if it is to have one."""
        settings = {**_BUILD_SETTINGS, **plan.settings, "log_line_prefix": LOG_PREFIX}
        attempts_left = _PORT_ATTEMPTS if tcp else 0
        with self._metrics.phase("start"):
            while True:
                port = _any_port() if tcp else None
                try:
                    cluster.start(port=port, settings=settings)
                except PortTaken:
                    attempts_left -= 1
                    if attempts_left <= 0:
                        raise
                else:
                    return port

    def _publish(self, plan: Plan, step: Step, workspace: Path) -> None:
        self._states.publish(
            workspace,
            State(
                state_id=step.state_id,
                parent_state_id=step.parent_state_id,
                image_id=plan.image_id,
                prepare_kind=plan.kind,
                prepare_args_normalized=plan.normalized,
                created_at="",
            ),
            step.recipe,
        )

    def _base(self, plan: Plan, context: JobContext) -> Path:
        """Return the image's empty cluster, made on first use."""
        base = self._files.base_dir(plan.image_id)

        def waiting() -> None:
            context.log("waiting for another job that builds the base state")

        with self._build_locks.hold(f"base {plan.image_id}", context.cancellation, waiting):
            if self._files.is_whole(base):
                return base
            self._files.discard(base)  # nothing, or damaged
            context.log(f"initdb: PostgreSQL {plan.distribution.version}")
            workspace = self._files.new_workspace()
            try:
                cluster = self._servers.server(plan.image_id, workspace)
                with self._metrics.phase("initdb"):
                    self._initdb(cluster, context)
                # It has no row to say that it may be damaged after a power loss.
                self._files.sync()
                self._files.publish(workspace, base)
            except BaseException:
                self._scrap(workspace)
                raise
        return base

    def _initdb(self, cluster: Cluster, context: JobContext) -> None:
        try:
            cluster.initdb(lambda line: context.log(f"initdb: {line}"))
        except ClusterFailed as error:
            if not initdb_was_full(error, self._disk_budget.exhausted()):
                raise
            raise _became_full(error) from error

    @contextmanager
    def _full_disk_told(self, workspace: Path) -> Iterator[None]:
        """Tell a server, or a step, that found no room on the disk from one that failed."""
        try:
            yield
        except (ClusterFailed, StepFailed) as error:
            if not was_full(error, workspace / LOG_FILE, self._disk_budget.exhausted()):
                raise
            raise _became_full(error) from error

    def _scrap(self, workspace: Path) -> None:
        """Leave nothing of a failed build; the failure itself goes on."""

        def scrap() -> None:
            self._servers.kill(workspace)
            self._files.discard(workspace)

        self._retries.do(f"clean up {workspace}", scrap)


def _became_full(error: ClusterFailed | StepFailed) -> StorageFull:
    return StorageFull(DISK_FULL, error.details)


def _any_port() -> int:
    """Return a free port of 127.0.0.1, of those that the system gives out for a moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
