"""The plan of a prepare: its image, and a chain of steps with the states they make."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sqlrs_engine.errors import Conflict
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.store.records import Json

from .file_reads import FileRead
from .job_context import JobContext
from .request import PrepareRequest


class Rewritten(Conflict):
    """A step wrote files that it was planned to read only: the next plan knows that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """The place where a step runs: a cluster, which listens on ``port`` if the step needs that.

    ``container`` becomes the state, ``parent`` is that of the state that was cloned. Files
    beside their data directories are the steps' own.
    """

    cluster: Cluster
    port: int | None
    container: Path
    parent: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """A change of a cluster, and the state that it makes of its parent (None: the base state).

    ``files`` are those whose content counts in ``state_id``. ``volatile`` is the reason why the
    state must not be used again, None for the usual case. ``notes`` name what the step reads beyond
    its inputs. ``recipe`` is what the step is made of, as JSON, so that a later step can be
    compared with it.
    """

    # Whether the step needs a server that listens on 127.0.0.1, not on its socket alone.
    tcp: ClassVar[bool] = False

    parent_state_id: str | None
    state_id: str
    task_hash: str
    files: tuple[FileRead, ...]
    volatile: str | None
    notes: tuple[str, ...] = ()
    recipe: Json = field(default_factory=dict)

    @property
    def changed_files(self) -> list[Path]:
        """The files that have changed since the state's id was computed."""
        return [file.path for file in self.files if not file.unchanged()]

    def rewrote(self, changed: Collection[Path]) -> bool:
        """Return whether the step itself changed these files; a later plan then knows it."""
        return False

    @property
    def from_base(self) -> bool:
        """Whether the step does all that its parent's steps do as well."""
        return False

    @abstractmethod
    def task(self) -> Json:
        """Return the fields of ``Task`` that describe the step."""

    @abstractmethod
    def run(self, site: Site, context: JobContext) -> None:
        """Run the step on a cluster.

        Raises StepFailed, StorageFull, and what ``context.cancellation.check`` does.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The configuration that plans depend on, as it was at one moment.

    ``settings`` are the servers' beyond the engine's own.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    base: BaseRecipe = field(default_factory=BaseRecipe)


def of_base(base: BaseRecipe | None) -> Json:
    """Return what a step's recipe has of its base state, for comparisons: only the first step's.

    In its id, the base id stands for it.
    """
    return {} if base is None else {"base": base.to_json()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps that a request takes on a distribution; ``base`` is the base state's recipe."""

    kind: str
    distribution: Distribution
    base: BaseRecipe
    steps: tuple[Step, ...]
    normalized: str
    signature: str
    settings: Mapping[str, Any]

    @property
    def image_id(self) -> str:
        """The resolved image."""
        return self.distribution.image_id

    @property
    def base_id(self) -> str:
        """The id of the base state."""
        return self.base.base_id(self.image_id)

    def close(self) -> None:
        """Release the processes and files that the plan holds: by default none."""

    @property
    def state_ids(self) -> list[str]:
        """The states of the steps, in order; the last is the result."""
        return [step.state_id for step in self.steps]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft(ABC):
    """A request that was read and checked: its plan, once the image is known.

    ``normalized`` is the form in which the arguments are shown, ``files`` were read for it.
    """

    request: PrepareRequest
    normalized: str
    configured: Configured
    files: tuple[FileRead, ...] = ()

    def holds(self, configured: Configured) -> bool:
        """Return whether nothing that it was made from has changed since."""
        return (
            configured == self.configured
            and not self.request.lacks_work_dir
            and all(file.unchanged() for file in self.files)
        )

    @abstractmethod
    def plan(self, distribution: Distribution, context: JobContext) -> Plan:
        """Return the plan on a distribution; close it after use.

        ``context`` receives messages about long operations and may end them. Raises
        InvalidArgument, SourceInputsMissing, StepFailed when Liquibase cannot read the changelog,
        LiquibaseUnavailable, and what ``context.cancellation.check`` does.
        """
