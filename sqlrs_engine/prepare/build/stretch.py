"""A stretch: steps that run one after the other on one server, and become states together.

A state costs a clone, a start and a stop of a server, and space. The states of cheap steps in the
middle of a chain are seldom used again, so only the last step of a stretch gets a state with files.
The steps before it get rows, as states that were stripped of their files do: their ids are known,
misses are explained by their recipes, and what depends on them is built from an earlier state.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.errors import ServerUnusable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.observation.findings import Findings
from sqlrs_engine.prepare.observation.observer import Observer
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.step import Site, Step

PAYS = 4
"""A state is made when the work since the last one took this many times what a state costs."""

KEPT_AT_THE_END = 3
"""The last steps of a chain get states whatever they cost: they are what people edit."""


class StateCost:
    """What a state costs beyond its steps, in seconds: a running average."""

    def __init__(self) -> None:
        self.seconds = 0.12  # about what it is on a small machine, before anything is known

    def took(self, seconds: float) -> None:
        """Take a state into account."""
        self.seconds += (seconds - self.seconds) / 4


class Report(Protocol):
    """Learns of the steps of a plan, by number, as they are done."""

    def begins(self, number: int) -> None:
        """Learn that a step runs."""

    def ends(self, number: int, *, built: bool) -> None:
        """Learn that a step has succeeded; without ``built``, its state was there."""

    def published(self, number: int) -> None:
        """Learn that the state of a step is in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the builds of one plan share."""

    plan: Plan
    observer: Observer
    context: JobContext
    report: Report


@dataclass(slots=True, kw_only=True)
class Stretch:
    """The steps from number ``first`` on, as far as they ran; ``findings`` are by number.

    ``seconds`` is how long the steps took.
    """

    first: int
    last: int
    seconds: float = 0.0
    findings: dict[int, Findings] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ends:
    """Decides where stretches end; ``cost_seconds`` is what a state costs.

    ``is_wanted`` returns whether another job waits for a state.
    """

    cost_seconds: float
    is_wanted: Callable[[str], bool]

    def after(self, steps: Sequence[Step], number: int, seconds: float) -> bool:
        """Return whether a stretch whose steps took ``seconds`` ends with a step."""
        if len(steps) - number <= KEPT_AT_THE_END or seconds > PAYS * self.cost_seconds:
            return True
        step, following = steps[number], steps[number + 1]
        return (
            self.is_wanted(step.state_id)
            or following.tcp != step.tcp
            or following.server_settings != step.server_settings
        )


def run_stretch(work: Work, first: int, site: Site, ends: Ends, metrics: Metrics) -> Stretch:
    """Run steps on a server until a stretch ends; the server still runs then.

    Raises StepFailed, Conflict when a file changed while a step ran, StorageFull, ServerUnusable,
    and what ``cancellation.check`` does.
    """
    steps = work.plan.steps
    settings = site.cluster.altered_settings()
    began = time.monotonic()
    stretch = Stretch(first=first, last=first)
    for number in range(first, len(steps)):
        stretch.last = number
        work.context.cancellation.check()
        work.report.begins(number)
        repeated = _is_repeated(steps, number)
        if not repeated:
            if number > first and not _goes_on(steps, number - 1):
                site = replace(site)  # with a password of its own: the step before may set another
            _run_step(work, number, site, stretch, metrics)
        work.report.ends(number, built=True)
        if not repeated and (
            ends.after(work.plan.steps, number, time.monotonic() - began)
            or site.cluster.altered_settings() != settings  # which the next start applies
            or not _lets_in(steps, number, site)
        ):
            break
    if stretch.findings and _goes_on(steps, stretch.last):
        steps[stretch.last].settle(site, work.context)
    _check_files(steps[stretch.last])
    stretch.seconds = time.monotonic() - began
    return stretch


def _run_step(work: Work, number: int, site: Site, stretch: Stretch, metrics: Metrics) -> None:
    steps, context = work.plan.steps, work.context
    step = steps[number]
    work.observer.expect(step)
    work.observer.begin(step)
    with metrics.phase(step.kind):
        step.run(site, context)
        if not _goes_on(steps, number):
            step.settle(site, context)
    # Before the engine itself looks at the files.
    stretch.findings[number] = work.observer.end(step)
    if number + 1 < len(steps) and steps[number + 1].files is not step.files:
        _check_files(step)


def _check_files(step: Step) -> None:
    """Raise Conflict when files have changed since the ids of their steps were computed."""
    if changed := step.changed_files:
        raise step.conflict(changed)


def _is_repeated(steps: Sequence[Step], number: int) -> bool:
    """Return whether the next step does all that this one does, from the same state."""
    return number + 1 < len(steps) and steps[number + 1].source_state_id != steps[number].state_id


def _goes_on(steps: Sequence[Step], number: int) -> bool:
    """Return whether the next step uses the session that this one keeps open."""
    return number + 1 < len(steps) and steps[number + 1].continues(steps[number])


def _lets_in(steps: Sequence[Step], number: int, site: Site) -> bool:
    """Return whether the next step can connect, so that it is not blamed for what this one did.

    Sessions that this one has left behind are ended, as by a stop of the server.
    """
    if _goes_on(steps, number):
        return True
    try:
        site.cluster.check_superuser(site.port, alone=True)
    except ServerUnusable:
        return False
    return True
