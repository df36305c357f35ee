"""The plan of a preparation: its image, and a chain of steps with the states they make."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..postgres.distribution import Distribution
from ..store.records import Task
from . import identity
from .arguments import PsqlArguments, StepArguments
from .content import Content, content_of
from .files import FileRead, SourceFiles
from .request import PrepareRequest

KIND = "psql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One run of psql, and the state it makes of its parent (None: of the base state).

    ``files`` are those whose content counts in ``state_id``. ``volatile`` is the reason
    why the state must not be used again, None for the usual case.
    """

    parent_state_id: str | None
    state_id: str
    task_hash: str
    arguments: StepArguments
    directory: Path | None
    files: tuple[FileRead, ...]
    volatile: str | None

    @property
    def changed_files(self) -> list[Path]:
        """The files that are not what they were when the state's id was worked out."""
        return [file.path for file in self.files if not file.unchanged()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a request comes to on a distribution."""

    kind: str
    distribution: Distribution
    steps: tuple[Step, ...]
    normalized: str
    signature: str
    settings: Mapping[str, Any]

    @property
    def image_id(self) -> str:
        """The resolved image."""
        return self.distribution.image_id

    @property
    def state_ids(self) -> list[str]:
        """The states of the steps, in order; the last is the result."""
        return [step.state_id for step in self.steps]


class Planner:
    """Makes plans; what it learnt about files it remembers."""

    def __init__(self, files: SourceFiles | None = None) -> None:
        self._files = files or SourceFiles()

    def check(self, request: PrepareRequest) -> PsqlArguments:
        """Return a request's arguments, checked with every file they lead to.

        Raises InvalidArgument.
        """
        arguments = PsqlArguments.parse(request.psql_args, request.stdin)
        self._contents(arguments, request)
        return arguments

    def plan(
        self, request: PrepareRequest, distribution: Distribution, settings: Mapping[str, Any]
    ) -> Plan:
        """Plan a request. ``settings`` are the server's, beyond the engine's own.

        Raises InvalidArgument as ``check`` does.
        """
        arguments = PsqlArguments.parse(request.psql_args, request.stdin)
        contents = self._contents(arguments, request)
        steps: list[Step] = []
        parent: str | None = None
        for step, (content, directory) in zip(arguments.steps, contents, strict=True):
            task_hash = identity.step_hash(_recipe(step, content, settings))
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
        )

    def _contents(
        self, arguments: PsqlArguments, request: PrepareRequest
    ) -> list[tuple[Content, Path | None]]:
        """Return the content of each step's input, and psql's working directory for it."""
        fallback = Path(request.work_dir) if request.work_dir else arguments.directory()
        contents = []
        for step in arguments.steps:
            is_file = step.input.kind == "file"
            directory = Path(step.input.text).parent if is_file else fallback
            content = content_of(
                step.input,
                request.stdin,
                files=self._files,
                directory=directory,
                variables=_variables(step),
            )
            contents.append((content, directory))
        return contents


def tasks_of(plan: Plan, job_id: str, image: str, cached: Mapping[str, bool]) -> list[Task]:
    """Return the tasks of a job; ``cached`` tells which states there are already."""
    tasks = [Task(job_id=job_id, task_id="plan", position=0, type="plan", planner_kind=plan.kind)]
    if "@" not in image:
        tasks.append(
            Task(
                job_id=job_id,
                task_id="resolve-image",
                position=1,
                type="resolve_image",
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


def _variables(step: StepArguments) -> dict[str, str]:
    variables = {}
    for letter, given in step.options:
        if letter == "v":
            name, _, text = (given or "").partition("=")
            variables[name] = text
    return variables
