"""A request that was read: the drafts of its stages, and the plan that they make."""

from contextlib import ExitStack
from dataclasses import dataclass, replace

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.states import state_ids
from sqlrs_engine.states.observed_inputs import as_planned

from .job_context import JobContext
from .plan import Configured, Plan, Planning, Resolve, StageDraft, StagePlan
from .request import PrepareRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A request that was read and checked: its plan, once the image is known."""

    request: PrepareRequest
    configured: Configured
    stages: tuple[StageDraft, ...]

    @property
    def normalized(self) -> str:
        """The arguments as they are shown."""
        return "; ".join(stage.normalized for stage in self.stages)

    def holds(self, configured: Configured) -> bool:
        """Return whether nothing that it was made from has changed since."""
        return (
            configured == self.configured
            and not any(stage.lacks_work_dir for stage in self.request.stages)
            and all(stage.holds() for stage in self.stages)
        )

    def plan(
        self,
        distribution: Distribution,
        context: JobContext,
        origin: str | None = None,
        resolve: Resolve = as_planned,
    ) -> Plan:
        """Return the plan on a distribution, from a state if given; close it after use.

        ``resolve`` is that of the states' observed inputs. Raises what the plans of the stages
        raise.
        """
        base = self.configured.base.on(distribution)
        settings = self.configured.settings
        planning = Planning(
            distribution=distribution,
            base=base,
            settings=settings,
            context=context,
            resolve=resolve,
        )
        stages: list[StagePlan] = []
        with ExitStack() as cleanup:
            parent = origin
            for draft in self.stages:
                stage = draft.plan(parent, replace(planning, root=draft.root))
                cleanup.callback(stage.close)
                stages.append(stage)
                parent = stage.steps[-1].state_id
            cleanup.pop_all()
        return Plan(
            kind=self.request.prepare_kind,
            distribution=distribution,
            base=base,
            origin=origin,
            stages=tuple(stages),
            normalized=self.normalized,
            signature=state_ids.signature(
                self.request.prepare_kind,
                origin or planning.base_id,
                (step.task_hash for stage in stages for step in stage.steps),
                plan_only=self.request.plan_only,
            ),
            settings=settings,
            resolutions=planning.resolutions,
        )
