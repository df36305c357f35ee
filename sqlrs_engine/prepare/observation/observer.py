"""Observes the steps of plans: one watch for the steps of a stage, which have the same root."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Outdated, Plan, Step
from sqlrs_engine.states.observed_inputs import ObservedInputs, Resolution

from .findings import Expectation, Findings, find
from .values import InputValues
from .watch import Watch

_log = logging.getLogger(__name__)


class Observation:
    """Observes the steps of all plans of an engine.

    ``observed`` are the inputs of the states that exist.
    """

    def __init__(
        self, observed: ObservedInputs, values: InputValues, store_root: Path | None = None
    ) -> None:
        """``store_root`` is where the engine's own files are: what happens there does not count."""
        self.observed = observed
        self._values = values
        self._excluded = None if store_root is None else str(store_root)

    def of(self, plan: Plan, context: JobContext) -> "Observer":
        """Return an observer of a plan's steps; close it after use."""

        def watch(roots: list[str]) -> Watch:
            return Watch(roots, excluded=self._excluded)

        return Observer(plan, self.observed, self._values, watch, context)


class Observer:
    """Observes the steps of a plan, one after the other."""

    def __init__(
        self,
        plan: Plan,
        observed: ObservedInputs,
        values: InputValues,
        watch: Callable[[list[str]], Watch],
        context: JobContext,
    ) -> None:
        self._plan = plan
        self._observed = observed
        self._values = values
        self._new_watch = watch
        self._context = context
        self._watches: dict[str, Watch | None] = {}
        self._told: set[str] = set()

    def check(self, step: Step) -> None:
        """Raise Outdated unless a state that exists now is the one that the plan means."""
        if not self._observed.stands(self._resolution(step)):
            raise Outdated("a file changed while the job read it: prepare again", step.state_id)

    def expect(self, step: Step) -> None:
        """Start to look for the directories around a step that is about to run."""
        root = self._root(step)
        if root is not None and root not in self._watches:
            self._watches[root] = self._watch(root)

    def begin(self, step: Step) -> None:
        """Take note of what happens from now on."""
        watch = self._watch_of(step)
        if watch is not None:
            watch.begin()

    def end(self, step: Step) -> Findings:
        """Return what a step has read besides what its plan names, and tell the job's log.

        The state counts as one with these inputs from now on.
        """
        watch, root = self._watch_of(step), self._root(step)
        if watch is None or root is None:
            return Findings()
        planned = {str(file.path) for file in step.files}
        planned |= {os.path.realpath(path) for path in planned}
        expected = Expectation(
            root=root,
            is_planned=lambda path: path in planned or step.reads_names_in(path),
            values=self._resolution(step).values,
            writes=step.writes,
        )
        found = find(watch, expected, self._values)
        # Before the state is published: others must not see it without its inputs.
        self._observed.published(step.state_id, found.inputs)
        unwatched = watch.notes()
        if unwatched and root not in self._told:
            self._told.add(root)
            self._context.log(
                printable(f"observed: {root}, except for {', '.join(unwatched)} in it")
            )
        for note in found.notes:
            self._context.log(printable(f"observed: {note}"))
        return found

    def settle(self, step: Step, found: Findings) -> None:
        """Forget inputs that the step has not used after all; its state is published.

        They were read by others while the state that this one takes the place of was built: the
        step is the same, and only inputs that it does not use have changed.
        """
        resolution = self._resolution(step)
        earlier = resolution.instead_of
        if earlier is None or not found.complete:
            return
        if all(each.kind != "unseen" and each.key not in found.used for each in resolution.changed):
            kept = [each for each in self._observed.of(earlier) if each.key in found.used]
            self._observed.replace(earlier, kept)

    def close(self) -> None:
        """End the watches."""
        for watch in self._watches.values():
            if watch is not None:
                watch.close()

    def _resolution(self, step: Step) -> Resolution:
        return self._plan.resolutions[step.state_id]

    def _root(self, step: Step) -> str | None:
        """Return the directory around a step, None if it is not to be observed."""
        root = None if step.volatile else self._resolution(step).root
        return None if root is None else os.path.realpath(root)

    def _watch_of(self, step: Step) -> Watch | None:
        root = self._root(step)
        return None if root is None else self._watches.get(root)

    def _watch(self, root: str) -> Watch | None:
        """Watch a root and the directories of the files beyond it that its steps read."""
        steps = (step for step in self._plan.steps if self._root(step) == root)
        directories = {str(file.path.parent) for step in steps for file in step.files}
        try:
            return self._new_watch([root, *sorted(directories)])
        except OSError as error:
            _log.warning("nothing in %s can be observed: %s", root, error)
            self._context.log(f"observed: nothing ({error.strerror})")
            return None
