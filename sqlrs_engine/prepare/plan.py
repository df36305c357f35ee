"""The plan of a preparation: its image, and a chain of steps with the states they make."""

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..errors import NotImplementedYet
from ..postgres.distribution import Distribution
from ..sources import Blobs
from ..store.records import Json, Task
from . import identity
from .arguments import PsqlArguments, StepArguments
from .content import Content, Files, content_of
from .files import FileRead, SourceFiles
from .remote import RemoteSources, Scripts
from .request import PrepareRequest

KIND = "psql"

_SUMMARY_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run of psql, and the state it makes of its parent (None: of the base state).

    ``files`` are those whose content counts in ``state_id``. ``volatile`` is the reason
    why the state must not be used again, None for the usual case. ``recipe`` tells, as JSON,
    what the step is made of, so that a later one can be told from it.
    """

    parent_state_id: str | None
    state_id: str
    task_hash: str
    arguments: StepArguments
    directory: Path | None
    files: tuple[FileRead, ...]
    volatile: str | None
    recipe: Json = field(default_factory=dict)

    @property
    def changed_files(self) -> list[Path]:
        """The files that are not what they were when the state's id was worked out."""
        return [file.path for file in self.files if not file.unchanged()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request comes to on a distribution.

    ``root`` is the workspace of a client on another machine, None when its files are here.
    """

    kind: str
    distribution: Distribution
    steps: tuple[Step, ...]
    normalized: str
    signature: str
    settings: Mapping[str, Any]
    root: Path | None = None

    @property
    def image_id(self) -> str:
        """The resolved image."""
        return self.distribution.image_id

    @property
    def state_ids(self) -> list[str]:
        """The states of the steps, in order; the last is the result."""
        return [step.state_id for step in self.steps]


class Sources(Protocol):
    """The files of a request, here or on another machine."""

    @property
    def root(self) -> Path | None:
        """The workspace of a client on another machine."""

    @property
    def work_dir(self) -> str | None:
        """The working directory of that client."""

    def bind(self, path: str) -> str:
        """Return the path of a file that an argument names. Raises InvalidArgument."""

    def check_options(self, step: StepArguments) -> None:
        """Raise InvalidArgument for options that are not allowed."""

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None when there is none."""

    def of_step(self) -> Files:
        """Return the files as one run of psql sees them."""

    def complete(self) -> AbstractContextManager[None]:
        """Raise SourceInputsMissing when anything turns out to be missing in the block."""


class Planner:
    """Makes plans; what it learnt about files it remembers."""

    def __init__(self, blobs: Blobs | None = None) -> None:
        """``blobs`` are the contents that clients on other machines have uploaded."""
        self._files = SourceFiles()
        self._scripts = Scripts(blobs) if blobs is not None else None

    def check(self, request: PrepareRequest) -> PsqlArguments:
        """Return a request's arguments, checked with every file they lead to.

        Raises InvalidArgument, SourceInputsMissing.
        """
        arguments, _ = _read(request, self._sources(request))
        return arguments

    def plan(
        self, request: PrepareRequest, distribution: Distribution, settings: Mapping[str, Any]
    ) -> Plan:
        """Plan a request. ``settings`` are the server's, beyond the engine's own.

        Raises as ``check`` does.
        """
        sources = self._sources(request)
        arguments, contents = _read(request, sources)
        steps: list[Step] = []
        parent: str | None = None
        for step, (content, directory) in zip(arguments.steps, contents, strict=True):
            recipe = _recipe(step, content, settings)
            task_hash = identity.step_hash(recipe)
            state_id = identity.state_id(parent or distribution.image_id, KIND, task_hash)
            steps.append(
                Step(
                    parent_state_id=parent,
                    state_id=state_id,
                    task_hash=task_hash,
                    arguments=step,
                    directory=directory,
                    files=content.files,
                    volatile=content.volatile,
                    recipe=recipe | _origin(step, content),
                )
            )
            parent = state_id
        return Plan(
            kind=KIND,
            distribution=distribution,
            steps=tuple(steps),
            normalized=arguments.normalized,
            signature=identity.signature(
                KIND,
                distribution.image_id,
                (step.task_hash for step in steps),
                plan_only=request.plan_only,
            ),
            settings=settings,
            root=sources.root,
        )

    def _sources(self, request: PrepareRequest) -> Sources:
        if request.source_manifest is None:
            return self._files
        if self._scripts is None:
            raise NotImplementedYet("this engine prepares from its own files only")
        return RemoteSources(request.source_manifest, self._scripts)


def _read(
    request: PrepareRequest, sources: Sources
) -> tuple[PsqlArguments, list[tuple[Content, Path | None]]]:
    """Return a request's arguments; for each step its content and psql's working directory."""
    arguments = PsqlArguments.parse(request.psql_args, request.stdin, sources.bind)
    if request.work_dir:
        fallback = sources.directory(request.work_dir)
    else:
        fallback = arguments.directory() or sources.directory(sources.work_dir)
    contents = []
    with sources.complete():
        for step in arguments.steps:
            sources.check_options(step)
            is_file = step.input.kind == "file"
            directory = Path(step.input.text).parent if is_file else fallback
            content = content_of(
                step.input,
                request.stdin,
                files=sources.of_step(),
                directory=directory,
                variables=_variables(step),
            )
            contents.append((content, directory))
    return arguments, contents


def tasks_of(plan: Plan, job_id: str, image: str, cached: Mapping[str, bool]) -> list[Task]:
    """Return the tasks of a job; ``cached`` tells which states there are already.

    What is done by then, the plan included, has succeeded.
    """
    tasks = [
        Task(
            job_id=job_id,
            task_id="plan",
            position=0,
            type="plan",
            status="succeeded",
            planner_kind=plan.kind,
        )
    ]
    if "@" not in image:
        tasks.append(
            Task(
                job_id=job_id,
                task_id="resolve-image",
                position=1,
                type="resolve_image",
                status="succeeded",
                image_id=image,
                resolved_image_id=plan.image_id,
            )
        )
    for number, step in enumerate(plan.steps):
        tasks.append(
            Task(
                job_id=job_id,
                task_id=f"execute-{number}",
                position=len(tasks),
                type="state_execute",
                status="succeeded" if cached[step.state_id] else "queued",
                input_kind="state" if step.parent_state_id else "image",
                input_id=step.parent_state_id or plan.image_id,
                task_hash=step.task_hash,
                output_state_id=step.state_id,
                cached=cached[step.state_id],
                args_summary=step.arguments.summary(),
            )
        )
    tasks.append(
        Task(
            job_id=job_id,
            task_id="prepare-instance",
            position=len(tasks),
            type="prepare_instance",
            input_kind="state",
            input_id=plan.steps[-1].state_id,
            instance_mode="ephemeral",
        )
    )
    return tasks


def _recipe(step: StepArguments, content: Content, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that can change what a step does, as JSON."""
    recipe: dict[str, Any] = {
        # A command is one transaction and a script is not; where a script comes from is
        # all the same.
        "input": "script" if step.input.kind in ("file", "stdin") else step.input.kind,
        "content": content.digest,
        "options": [list(option) for option in step.options],
    }
    if settings:
        recipe["settings"] = dict(settings)
    if content.volatile:
        recipe["nonce"] = secrets.token_hex(16)
    return recipe


def _origin(step: StepArguments, content: Content) -> Json:
    """Return where the inputs of a step come from: what a recipe tells but an id does not."""
    origin: Json = {
        "source": step.input.kind,
        "summary": step.summary()[:_SUMMARY_CHARS],
        "files": [{"path": path, "digest": each} for path, each in content.sources.items()],
    }
    if content.text is not None:
        origin["text"] = content.text
    if content.volatile:
        origin["volatile"] = content.volatile
    return origin


def _variables(step: StepArguments) -> dict[str, str]:
    variables = {}
    for letter, given in step.options:
        if letter == "v":
            name, separator, text = (given or "").partition("=")
            variables[name] = text
            if not separator:
                del variables[name]  # that is how psql is told to unset one
    return variables
