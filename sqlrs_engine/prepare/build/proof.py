"""The proof of a state: an instance of it has started and let its user in.

A step can keep every server from starting (``ALTER SYSTEM``) or its user from logging in (``ALTER
ROLE``, ``DROP DATABASE``, an event trigger). That shows when a server of its state is first needed,
and then the step has failed and its state is not kept. A state that was proven once is never
blamed: what goes wrong later comes from elsewhere. Nor is a state blamed whose server works at the
second attempt, or fails while the server of an empty cluster fails as well: then the machine lacks
some resource.
"""

from collections.abc import Callable, Sequence

from sqlrs_engine.errors import ClusterFailed, StepFailed
from sqlrs_engine.instances.disk_budget import DiskBudget
from sqlrs_engine.postgres.errors import ServerUnusable
from sqlrs_engine.prepare.step import Step
from sqlrs_engine.states.states import States

from .disk_full import NO_SPACE


class Proof:
    """Decides whether a state is to blame for the failure of its server."""

    def __init__(self, states: States, disk_budget: DiskBudget) -> None:
        self._states = states
        self._disk_budget = disk_budget

    def is_missing(self, step: Step) -> bool:
        """Return whether the state of a step is not proven yet."""
        return not self._states.proven(step.state_id)

    def diagnose(
        self, steps: Sequence[Step], error: ServerUnusable, fails_again: Callable[[str], bool]
    ) -> ClusterFailed | StepFailed:
        """Return the error to raise when a server of the last step's state is unusable.

        That is ``error`` itself, unless the state was never proven and fails again: then the
        state is dropped.
        ``fails_again`` starts a server on a state again, and one on the base state to compare.
        """
        *before, step = steps
        # In doubt nothing is dropped, so here any text will do.
        full = self._disk_budget.exhausted() or NO_SPACE in (error.details or "")
        if full or not self.is_missing(step) or not fails_again(step.state_id):
            return error
        self._states.drop_unproven(step.state_id)
        summary = step.task()["args_summary"]
        if any(map(self.is_missing, before)):
            summary += ", or a step before it"
        return StepFailed(
            "the step leaves a server that does not start or rejects its user: correct the step",
            f"{summary}: {error}",
        )
