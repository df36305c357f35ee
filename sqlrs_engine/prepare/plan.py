"""The plan of a prepare: its image, and a chain of steps with the states they make."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.states import state_ids
from sqlrs_engine.states.observed_inputs import Resolution, as_planned
from sqlrs_engine.store.records import Json

from .file_reads import FileRead
from .job_context import JobContext
from .step import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The configuration that plans depend on, as it was at one moment.

    ``settings`` are the servers' beyond the engine's own.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    base: BaseRecipe = field(default_factory=BaseRecipe)


Resolve = Callable[[str, str | None], Resolution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planning:
    """What the stages of a plan share; ``base`` is the base state's recipe on the distribution.

    ``context`` receives messages about long operations and may end them. ``resolve`` returns the id
    that takes the place of a planned one, given ``root``, the directory around the stage's files;
    ``resolutions`` collects what it returned.
    """

    distribution: Distribution
    base: BaseRecipe
    settings: Mapping[str, Any]
    context: JobContext
    root: str | None = None
    resolve: Resolve = as_planned
    resolutions: dict[str, Resolution] = field(default_factory=dict)

    @property
    def base_id(self) -> str:
        """The id of the base state."""
        return self.base.base_id(self.distribution.image_id)

    def state_id(self, parent: str | None, kind: str, task_hash: str) -> str:
        """Return the id of the state that a step makes of its parent (None: the base state)."""
        planned_id = state_ids.state_id(parent or self.base_id, kind, task_hash)
        resolution = self.resolve(planned_id, self.root)
        self.resolutions[resolution.state_id] = resolution
        return resolution.state_id

    def first_recipe(self, parent: str | None) -> Json:
        """Return what the recipe of a step has of its base state: something in the first only.

        It is for comparisons; in the id of the state, the base id stands for it.
        """
        return {} if parent else {"base": self.base.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class StagePlan:
    """The steps of one stage, at least one."""

    steps: tuple[Step, ...]

    def close(self) -> None:
        """Release the processes and files that the steps need: by default none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageDraft(ABC):
    """A stage that was read and checked: its plan, once its parent is known.

    ``normalized`` is the form in which the arguments are shown, ``files`` were read for it.
    ``root`` is the directory around them in which other reads are observed, None for none.
    """

    normalized: str
    files: tuple[FileRead, ...] = ()
    root: str | None = None

    def holds(self) -> bool:
        """Return whether nothing that it was made from has changed since."""
        return all(file.unchanged() for file in self.files)

    def not_reusable(self) -> "StageDraft":
        """Return the draft for a chain in which a later stage may read files that this writes."""
        return self

    @abstractmethod
    def plan(self, parent: str | None, planning: Planning) -> StagePlan:
        """Return the plan on a parent (None: the base state); close it after use.

        Raises InvalidArgument, SourceInputsMissing, StepFailed when Liquibase cannot read the
        changelog, LiquibaseUnavailable, and what ``context.cancellation.check`` does.
        """


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The steps that a request takes on a distribution; ``base`` is the base state's recipe.

    ``origin`` is the state that the first step starts from, None for the base state.
    ``resolutions`` say how the ids of its states came about, by these ids.
    """

    kind: str
    distribution: Distribution
    base: BaseRecipe
    origin: str | None = None
    stages: tuple[StagePlan, ...]
    normalized: str
    signature: str
    settings: Mapping[str, Any]
    resolutions: Mapping[str, Resolution] = field(default_factory=dict)

    @property
    def image_id(self) -> str:
        """The resolved image."""
        return self.distribution.image_id

    @property
    def base_id(self) -> str:
        """The id of the base state."""
        return self.base.base_id(self.image_id)

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all stages, in order."""
        return tuple(step for stage in self.stages for step in stage.steps)

    @cached_property
    def state_ids(self) -> tuple[str, ...]:
        """The states of the steps, in order; the last is the result."""
        return tuple(step.state_id for step in self.steps)

    def can_begin_after(self, count: int, exists: Callable[[str], bool]) -> bool:
        """Return whether the steps after the first ``count`` can run: these need not.

        ``exists`` returns whether a state can be cloned.
        """
        if not exists(self.state_ids[count - 1]):
            return False
        if count == len(self.steps):
            return True
        source = self.steps[count].source_state_id
        return source in (None, self.state_ids[count - 1]) or exists(source)

    @property
    def leased_ids(self) -> tuple[str, ...]:
        """The states that must not be deleted while the plan is carried out."""
        return self.state_ids if self.origin is None else (self.origin, *self.state_ids)

    def close(self) -> None:
        """Release what the stages need."""
        with ExitStack() as cleanup:
            for stage in self.stages:
                cleanup.callback(stage.close)
