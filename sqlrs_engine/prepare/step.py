"""A step of a plan: a change of a cluster that makes a state, and the place where it runs."""

import secrets
from abc import ABC, abstractmethod
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from sqlrs_engine.errors import Conflict
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.store.records import Json

from .file_reads import FileRead, printable
from .job_context import JobContext

_PASSWORD_BYTES = 24


class Outdated(Conflict):
    """Something became known since the plan was made, which the next plan takes into account."""

    note = "another job has built a state of other files meanwhile: planning again"


class Rewritten(Outdated):
    """A step wrote files that it was planned to read only."""

    note = "a script wrote a file that it reads: running it again"


@dataclass(frozen=True, kw_only=True)
class Site:
    """The place where steps run: a cluster, which listens on ``port`` if one of them needs that.

    ``container`` becomes the state, ``parent`` is that of the state that was cloned. Files
    beside their data directories are the steps' own.
    """

    cluster: Cluster
    port: int | None
    container: Path
    parent: Path

    @cached_property
    def password(self) -> str:
        """A password of the superuser for TCP, set now; the next start of the cluster sets another.

        Raises ServerUnusable.
        """
        assert self.port is not None  # noqa: S101 - who logs in needs TCP, and says so
        password = secrets.token_urlsafe(_PASSWORD_BYTES)
        self.cluster.set_password(self.port, password)
        return password


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(ABC):
    """A change of a cluster, and the state that it makes of its parent (None: the base state).

    ``kind`` is that of its stage, and part of the state's id. ``files`` are those whose content
    counts in ``state_id``. ``volatile`` is the reason why the state must not be used again, None
    for the usual case. ``notes`` name what the step reads beyond its planned inputs. ``recipe`` is
    what the step is made of, as JSON, so that a later step can be compared with it.
    """

    kind: ClassVar[str]
    # Whether the step needs a server that listens on 127.0.0.1, not on its socket alone.
    tcp: ClassVar[bool] = False
    # The number of directories, at most, in which reads are observed: to find them takes 6 ms of
    # CPU time, most of it while the server starts.
    observed_directories: ClassVar[int] = 500

    parent_state_id: str | None
    state_id: str
    task_hash: str
    files: tuple[FileRead, ...]
    volatile: str | None
    notes: tuple[str, ...] = ()
    recipe: Json = field(default_factory=dict)
    # Whether the job reports which files the step opens.
    traced: bool = False

    @property
    def changed_files(self) -> list[Path]:
        """The files that have changed since the state's id was computed."""
        return [file.path for file in self.files if not file.unchanged()]

    @property
    def places(self) -> Collection[Path]:
        """The directories in which other reads are observed, besides the root of the stage."""
        return {file.path.parent for file in self.files}

    def conflict(self, changed: Collection[Path]) -> Conflict:
        """Return the error for files that changed while the step ran.

        It is Outdated if the step itself changed them, which a later plan then knows.
        """
        kind = Rewritten if self.rewrote(changed) else Conflict
        return kind(
            "a file changed while the job read it: prepare again",
            printable(", ".join(map(str, changed))),
        )

    def rewrote(self, changed: Collection[Path]) -> bool:
        """Return whether the step itself changed these files, and remember it."""
        return False

    def writes(self, path: str) -> bool:
        """Return whether the step is known to write a file itself, so that it is no input."""
        return False

    def overlooked(self, seen: Collection[str], planned: Container[str]) -> str | None:
        """Return why the step may have read more files than ``seen`` and ``planned``.

        None if nothing is known that leads elsewhere.
        """
        return None

    def reads_names_in(self, directory: str) -> bool:
        """Return whether the names in a directory count in ``task_hash``, as far as they matter."""
        return False

    @property
    def source_state_id(self) -> str | None:
        """The state that is cloned to run the step, None for the base state: usually the parent.

        From an earlier state the step does all that the steps between do as well.
        """
        return self.parent_state_id

    @property
    def server_settings(self) -> Mapping[str, Any]:
        """Settings of the server that the step runs on; the configuration's take precedence."""
        return {}

    @abstractmethod
    def task(self) -> Json:
        """Return the fields of ``Task`` that describe the step."""

    @abstractmethod
    def run(self, site: Site, context: JobContext) -> None:
        """Run the step on a cluster.

        Raises StepFailed, StorageFull, and what ``context.cancellation.check`` does.
        """

    def continues(self, previous: "Step") -> bool:
        """Return whether the step uses what the one before keeps open on the same server."""
        return False

    def settle(self, site: Site, context: JobContext) -> None:  # noqa: B027 - most have nothing
        """End what the step keeps open for the next one on the same server: by default nothing.

        It is called before the server stops or a step of another stage runs. Raises as ``run``.
        """
