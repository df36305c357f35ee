"""Observes the steps of plans: one watch for the steps of a stage, which have the same root."""

import logging
import os
from collections.abc import Callable, Container, Sequence
from functools import cached_property
from pathlib import Path
from secrets import token_hex

from sqlrs_engine.prepare.file_reads import FileRead, printable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.step import Outdated, Step
from sqlrs_engine.states.observed_inputs import ObservedInputs, Resolution
from sqlrs_engine.store.records import Json, ObservedInput

from .findings import Expectation, Findings, find
from .values import InputValues
from .watch import Watch

CHANGED = "a file changed while the job read it: prepare again"

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

        def watch(roots: list[str], most: int) -> Watch:
            return Watch(roots, excluded=self._excluded, most=most)

        return Observer(plan, self.observed, self._values, watch, context)


class Observer:
    """Observes the steps of a plan, one after the other."""

    def __init__(
        self,
        plan: Plan,
        observed: ObservedInputs,
        values: InputValues,
        watch: Callable[[list[str], int], Watch],
        context: JobContext,
    ) -> None:
        self._plan = plan
        self._observed = observed
        self._values = values
        self._new_watch = watch
        self._context = context
        self._watches: dict[str, Watch | None] = {}
        self._told: set[str] = set()
        self._earlier: dict[str, tuple[ObservedInput, ...]] = {}
        self._planned: _Planned | None = None
        self.traced: list[Json] | None = None
        """The files that traced steps opened, as the API shows them; None without such steps."""

    def check(self, step: Step) -> None:
        """Raise Outdated unless a state that exists now is the one that the plan means."""
        if not self._observed.stands(self._resolution(step)):
            raise Outdated(CHANGED, step.state_id)

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

        The state counts as one with these inputs from now on. Raises Outdated if it has been made
        before, of other ones: what was made from it then may still be there.
        """
        root = self._root(step)
        if root is None:
            return Findings()
        watch = self._watches.get(root)
        found = self._unseen(step) if watch is None else self._find(watch, step, root)
        earlier = self._earlier.setdefault(step.state_id, self._observed.of(step.state_id))
        if not self._observed.unchanged(earlier, root):
            raise Outdated(CHANGED, step.state_id)
        found = found.along_with(earlier)
        # Before the state is published: others must not see it without its inputs.
        self._observed.published(step.state_id, found.inputs)
        for note in found.notes:
            self._context.log(printable(f"observed: {note}"))
        return found

    def _unseen(self, step: Step) -> Findings:
        doubt = step.overlooked((), ())
        return Findings() if doubt is None else Findings.nothing_seen(doubt)

    def _find(self, watch: Watch, step: Step, root: str) -> Findings:
        self._tell_unwatched(watch, root)
        planned = self._planned_by(step)
        if step.traced:
            self._trace(watch, root, planned)
            return Findings()
        expected = Expectation(
            root=root,
            is_planned=lambda path: path in planned or step.reads_names_in(path),
            values=self._resolution(step).values,
            writes=step.writes,
            overlooked=lambda seen: step.overlooked(seen, planned),
        )
        return find(watch, expected, self._values)

    def _planned_by(self, step: Step) -> "_Planned":
        """Return the files of a step, which many steps may share."""
        if self._planned is None or self._planned.files is not step.files:
            self._planned = _Planned(step.files)
        return self._planned

    def _tell_unwatched(self, watch: Watch, root: str) -> None:
        unwatched = watch.notes()
        if unwatched and root not in self._told:
            self._told.add(root)
            self._context.log(printable(f"observed: {root}, except for {', '.join(unwatched)}"))

    def _trace(self, watch: Watch, root: str, planned: Container[str]) -> None:
        """Take note of the files below the root that a step opened."""
        sight = watch.end()
        below = sorted(path for path in sight.read if Path(path).is_relative_to(root))
        traced = [
            {"path": printable(os.path.relpath(path, root)), "declared": path in planned}
            for path in below
        ]
        self.traced = [*(self.traced or ()), *traced]
        undeclared = sum(not each["declared"] for each in traced)
        self._context.log(f"traced: {len(traced)} files read in {root}, {undeclared} not declared")
        if sight.blind is not None:
            self._context.log(f"traced: not all of them, because {sight.blind}")

    def settle(self, step: Step, found: Findings) -> None:
        """Correct the inputs of the state in whose place another one was published now.

        If the step has used none of those that had changed, others had read them while that state
        was built: it is as good as this one.
        """
        self._earlier.pop(step.state_id, None)  # from now on, others may build on it
        resolution = self._resolution(step)
        earlier, changed = resolution.instead_of, resolution.changed
        if earlier is None:
            return
        inputs = self._observed.of(earlier)
        was_unseen = any(each.kind == "unseen" for each in changed)
        if was_unseen and not found.complete:
            # The next run takes the place of this one, and not a place behind it.
            again = ObservedInput("unseen", token_hex(16), None)
            kept = [*(each for each in inputs if each.kind != "unseen"), again]
        elif not was_unseen and found.complete and found.used.isdisjoint(e.key for e in changed):
            kept = [each for each in inputs if each.key in found.used]
        else:
            return
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
        root = self._resolution(step).root if step.traced or not step.volatile else None
        return None if root is None else os.path.realpath(root)

    def _watch_of(self, step: Step) -> Watch | None:
        root = self._root(step)
        return None if root is None else self._watches.get(root)

    def _watch(self, root: str) -> Watch | None:
        """Watch a root and the directories of the files beyond it that its steps read."""
        steps = [step for step in self._plan.steps if self._root(step) == root]
        most = max(step.observed_directories for step in steps)
        # The steps of a changelog share their files: thousands of each.
        distinct = {id(step.files): step for step in steps}.values()
        directories = {str(place) for step in distinct for place in step.places}
        try:
            return self._new_watch([root, *sorted(directories)], most)
        except OSError as error:
            _log.warning("nothing in %s can be observed: %s", root, error)
            self._context.log(f"observed: nothing ({error.strerror})")
            return None


class _Planned(Container[str]):
    """The paths of planned files, with symbolic links and without."""

    def __init__(self, files: Sequence[FileRead]) -> None:
        self.files = files
        self._paths = {str(file.path) for file in files}

    def __contains__(self, path: object) -> bool:
        return path in self._paths or path in self._resolved

    @cached_property
    def _resolved(self) -> set[str]:
        return set(map(os.path.realpath, self._paths))
