"""What becomes of the steps of a job: their tasks, and the states that are no longer needed."""

from sqlrs_engine.metrics import Metrics
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.tasks import execute
from sqlrs_engine.states.leases import Lease

from .progress import Progress


class StepReport:
    """Records the steps of a plan as they are done; used by the job's thread alone."""

    def __init__(self, plan: Plan, lease: Lease, progress: Progress, metrics: Metrics) -> None:
        self.built = False
        self._plan = plan
        self._lease = lease
        self._progress = progress
        self._metrics = metrics
        self._ended: set[int] = set()
        # Not only of files: a state needs the row of its parent.
        self._last_uses = {
            needed: at
            for at, step in enumerate(plan.steps)
            for needed in (step.source_state_id, step.parent_state_id)
        }
        self._last_uses[plan.state_ids[-1]] = len(plan.steps)
        self._leased = list(plan.leased_ids)

    def begins(self, number: int) -> None:
        """Record that a step runs; one that has to run again goes on."""
        if number not in self._ended:
            self._progress.begin(execute(number))

    def ends(self, number: int, *, built: bool) -> None:
        """Record that a step has succeeded; without ``built``, its state was there."""
        if number in self._ended:
            return
        self._ended.add(number)
        self.built |= built
        self._metrics.looked_up(hit=not built)
        self._progress.succeeded(execute(number))

    def published(self, number: int) -> None:
        """Release the states that no step after this one starts from."""
        unused = {each for each in self._leased if self._last_uses.get(each, 0) <= number}
        self._leased = [each for each in self._leased if each not in unused]
        self._lease.release(*unused)
