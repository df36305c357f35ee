"""Plans of psql scripts: each ``-f`` and each ``-c`` is a step."""

import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sqlrs_engine.errors import NotImplementedYet
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs, Trees
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .arguments import PsqlArguments, StepArguments
from .input_digest import InputDigest, input_digest
from .interpreter.session import SessionStart
from .local_files import LocalFiles
from .remote_files import RemoteSources, Scripts
from .script_files import ScriptFiles
from .staged_files import StagedFiles
from .step import PsqlStep, StagedStep

KIND = "psql"

_SUMMARY_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedPlan(Plan):
    """A plan of scripts on another machine."""

    staged: StagedFiles

    def close(self) -> None:
        """Remove what was laid out of the client's files."""
        self.staged.remove()


class Sources(Protocol):
    """The files of a request, here or on another machine."""

    @property
    def work_dir(self) -> str | None:
        """The working directory of that client."""

    def bind(self, path: str) -> str:
        """Return the path of a file that an argument names. Raises InvalidArgument."""

    def check_options(self, step: StepArguments) -> None:
        """Raise InvalidArgument for options that are not allowed."""

    def directory(self, path: str | None) -> Path | None:
        """Return a working directory, None when there is none."""

    def of_step(self) -> ScriptFiles:
        """Return the files as one run of psql sees them."""

    def complete(self) -> AbstractContextManager[None]:
        """Raise SourceInputsMissing when anything turns out to be missing in the block."""


class PsqlPlanner:
    """Makes the plans of scripts; what it learnt about files it remembers."""

    def __init__(
        self,
        files: LocalFiles,
        blobs: Blobs | None = None,
        trees: Trees | None = None,
        home: str | None = None,
    ) -> None:
        """``blobs`` are the contents that clients on other machines have uploaded.

        ``trees`` is where they are laid out for psql, ``home`` is the user's ``$HOME``, None
        when that is not set.
        """
        self._files = files
        self._home = home
        self._generated: set[str] = set()  # what programs of scripts were seen to write
        self._scripts = Scripts(blobs) if blobs is not None else None
        self._trees = trees

    def check(self, request: PrepareRequest) -> PsqlArguments:
        """Return a request's arguments, checked with every file they lead to.

        Raises InvalidArgument, SourceInputsMissing.
        """
        arguments, _ = self._read(request, self._sources(request), {})
        return arguments

    def plan(
        self, request: PrepareRequest, distribution: Distribution, settings: Mapping[str, Any]
    ) -> Plan:
        """Plan a request. ``settings`` are the server's, beyond the engine's own.

        Raises as ``check`` does.
        """
        sources = self._sources(request)
        arguments, contents = self._read(request, sources, settings)
        make_step: Callable[..., PsqlStep] = PsqlStep
        make_plan: Callable[..., Plan] = Plan
        if isinstance(sources, RemoteSources) and self._trees is not None:
            reads = [read for content, _ in contents for read in content.files]
            staged = StagedFiles(sources.root, reads, self._trees)
            make_step = partial(StagedStep, staged=staged)
            make_plan = partial(StagedPlan, staged=staged)
        steps: list[PsqlStep] = []
        parent: str | None = None
        for step, (content, directory) in zip(arguments.steps, contents, strict=True):
            recipe = _recipe(step, content, settings)
            task_hash = state_ids.step_hash(recipe)
            state_id = state_ids.state_id(parent or distribution.image_id, KIND, task_hash)
            steps.append(
                make_step(
                    parent_state_id=parent,
                    state_id=state_id,
                    task_hash=task_hash,
                    arguments=step,
                    directory=directory,
                    stdin=request.stdin if step.input.kind == "stdin" else None,
                    files=content.files,
                    home=self._home,
                    volatile=content.volatile,
                    notes=content.notes,
                    after_programs=content.after_programs,
                    generated=self._generated,
                    recipe=recipe | _origin(step, content),
                )
            )
            parent = state_id
        return make_plan(
            kind=KIND,
            distribution=distribution,
            steps=tuple(steps),
            normalized=arguments.normalized,
            signature=state_ids.signature(
                KIND,
                distribution.image_id,
                (step.task_hash for step in steps),
                plan_only=request.plan_only,
            ),
            settings=settings,
        )

    def _sources(self, request: PrepareRequest) -> Sources:
        if request.source_manifest is None:
            return self._files
        if self._scripts is None:
            raise NotImplementedYet(
                "this engine prepares only from its own files: leave out source_manifest"
            )
        return RemoteSources(request.source_manifest, self._scripts)

    def _read(
        self, request: PrepareRequest, sources: Sources, settings: Mapping[str, Any]
    ) -> tuple[PsqlArguments, list[tuple[InputDigest, Path | None]]]:
        """Return a request's arguments; for each step its content and psql's working directory."""
        arguments = PsqlArguments.parse(request.psql_args, request.stdin, sources.bind)
        if request.work_dir:
            fallback = sources.directory(request.work_dir)
        else:
            fallback = arguments.directory() or sources.directory(sources.work_dir)
        contents: list[tuple[InputDigest, Path | None]] = []
        start = SessionStart.of(settings)
        with sources.complete():
            for step in arguments.steps:
                sources.check_options(step)
                is_file = step.input.kind == "file"
                directory = Path(step.input.text).parent if is_file else fallback
                content = input_digest(
                    step.input,
                    request.stdin,
                    files=sources.of_step(),
                    directory=directory,
                    variables=_variables(step),
                    home=self._home,
                    start=start,
                    outputs=tuple(text for each, text in step.options if each in "oL" and text),
                    generated=self._generated,
                )
                start = content.next_start
                if content.uses_earlier:
                    contents = [(_rerun(earlier), place) for earlier, place in contents]
                contents.append((content, directory))
        return arguments, contents


def _rerun(content: InputDigest) -> InputDigest:
    """Return the content of a step that has to write its files again for a later one."""
    if content.volatile or not content.writes:
        return content
    return replace(content, volatile="it writes files that a later step may read")


def _recipe(
    step: StepArguments, content: InputDigest, settings: Mapping[str, Any]
) -> dict[str, Any]:
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


def _origin(step: StepArguments, content: InputDigest) -> Json:
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
        if letter == "S":
            variables["SINGLELINE"] = "on"
        elif letter == "v":
            name, separator, text = (given or "").partition("=")
            variables[name] = text
            if not separator:
                variables.pop(name)  # that is how psql is told to unset one
    return variables
