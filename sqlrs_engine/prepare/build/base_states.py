"""The base states of images: empty clusters, made by initdb on first use.

Those of images from registries have what the images' own scripts put in them.
"""

from pathlib import Path

from sqlrs_engine.errors import DISK_FULL, ClusterFailed, StorageFull
from sqlrs_engine.instances.disk_budget import DiskBudget
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Plan

from .build_locks import BuildLocks
from .disk_full import initdb_was_full
from .image_scripts import failed_scripts, run_image_scripts
from .workspaces import Workspaces


class BaseStates:
    """Makes base states, each of them once; safe to use from any thread."""

    def __init__(
        self,
        workspaces: Workspaces,
        build_locks: BuildLocks,
        disk_budget: DiskBudget,
        metrics: Metrics,
    ) -> None:
        self._workspaces = workspaces
        self._files = workspaces.files
        self._build_locks = build_locks
        self._disk_budget = disk_budget
        self._metrics = metrics

    def ensure(self, plan: Plan, context: JobContext) -> Path:
        """Return the container of the plan's base state, which is made if it is missing.

        Raises LocaleUnavailable, ClusterFailed, StorageFull, and what
        ``context.cancellation.check`` does.
        """
        base = self._files.base_dir(plan.image_id, plan.base_id)

        def waiting() -> None:
            context.log("waiting for another job that builds the base state")

        with self._build_locks.hold(_key(plan), context.cancellation, waiting):
            if not self._files.is_whole(base):
                self._files.discard(base)  # nothing, or damaged
                self._make(plan, base, context)
            self._files.note_use(base)
        for line in failed_scripts(base):
            context.log(f"{line}; the base state is without it")
        return base

    def repair(self, plan: Plan, context: JobContext) -> bool:
        """Remove a base state that does not start; return whether it was damaged."""
        base = self._files.base_dir(plan.image_id, plan.base_id)
        with self._build_locks.hold(_key(plan), context.cancellation, lambda: None):
            if self._workspaces.starts(plan.image_id, base, {}):
                return False
            self._files.discard(base)
        context.log("the base state is damaged: building it again")
        return True

    def _make(self, plan: Plan, base: Path, context: JobContext) -> None:
        context.log(f"initdb: PostgreSQL {plan.distribution.version}")
        workspace = self._files.new_workspace()
        try:
            cluster = self._workspaces.cluster(plan.image_id, workspace)
            with self._metrics.phase("initdb"):
                self._initdb(cluster, plan, context)
                if plan.distribution.entry_point is not None:
                    run_image_scripts(
                        cluster, workspace, self._workspaces, self._disk_budget, context
                    )
            # It has no row to say that it may be damaged after a power loss.
            self._files.sync()
            self._files.publish(workspace, base)
        except BaseException:
            self._workspaces.remove(workspace)
            raise

    def _initdb(self, cluster: Cluster, plan: Plan, context: JobContext) -> None:
        try:
            cluster.initdb(lambda line: context.log(f"initdb: {line}"), plan.base)
        except ClusterFailed as error:
            if not initdb_was_full(error, self._disk_budget.exhausted()):
                raise
            raise StorageFull(DISK_FULL, error.details) from error


def _key(plan: Plan) -> str:
    """Return the key of the build lock; states have their ids."""
    return f"base {plan.base_id}"
