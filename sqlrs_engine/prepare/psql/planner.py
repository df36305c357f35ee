"""Plans of psql scripts: each ``-f`` and each ``-c`` is a step."""

import secrets
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from sqlrs_engine.errors import NotImplementedYet
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.local_files import LocalFiles
from sqlrs_engine.prepare.plan import Plan, Site, Step
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from . import runner
from .arguments import PsqlArguments, StepArguments
from .digest import InputDigest, ScriptFiles, Start, input_digest
from .remote_files import RemoteSources, Scripts

if TYPE_CHECKING:
    from sqlrs_engine.prepare.job_context import JobContext

KIND = "psql"

_SUMMARY_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlStep(Step):
    """One run of psql, in ``directory``; ``stdin`` is what ``-f -`` reads.

    ``home`` is its ``$HOME``, None for that of the engine's user. ``after_programs`` are the
    files that programs may have written before they are read, with the names to know them
    by; those that they do write end up in ``generated``.
    """

    arguments: StepArguments
    directory: Path | None
    stdin: str | None = None
    home: str | None = None
    after_programs: Mapping[Path, str] = field(default_factory=dict)
    generated: set[str] = field(default_factory=set)

    def rewrote(self, changed: Collection[Path]) -> bool:
        """Return whether programs of the script may have changed these files, and remember them."""
        if not self.after_programs.keys() >= set(changed):
            return False
        self.generated.update(self.after_programs[path] for path in changed)
        return True

    def task(self) -> Json:
        """Return what its task tells of it."""
        return {"args_summary": self.arguments.summary()}

    def run(self, site: Site, work: "JobContext") -> None:
        """Run psql over the cluster's socket."""
        arguments, directory = self.arguments, self.directory
        told: Callable[[str], str] = str
        if work.projection is not None:
            arguments, directory = work.projection.step(self)
            told = work.projection.told
        work.log("psql: start")
        with ExitStack() as cleanup:
            if directory is None:
                # Where a relative path of an option (-o x) leads, instead of to the engine's.
                scratch = TemporaryDirectory(
                    prefix="scratch-", dir=site.container, ignore_cleanup_errors=True
                )
                directory = Path(cleanup.enter_context(scratch))
            script = runner.Script(arguments.command_line(), directory, self.stdin, self.home, told)
            runner.run(site.cluster, script, work.control, lambda line: work.log(f"psql: {line}"))


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

    def of_step(self) -> ScriptFiles:
        """Return the files as one run of psql sees them."""

    def complete(self) -> AbstractContextManager[None]:
        """Raise SourceInputsMissing when anything turns out to be missing in the block."""


class PsqlPlanner:
    """Makes the plans of scripts; what it learnt about files it remembers."""

    def __init__(
        self, files: LocalFiles, blobs: Blobs | None = None, home: str | None = None
    ) -> None:
        """``blobs`` are the contents that clients on other machines have uploaded.

        ``home`` is the user's ``$HOME``, None when that is not set.
        """
        self._files = files
        self._home = home
        self._generated: set[str] = set()  # what programs of scripts were seen to write
        self._scripts = Scripts(blobs) if blobs is not None else None

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
        steps: list[PsqlStep] = []
        parent: str | None = None
        for step, (content, directory) in zip(arguments.steps, contents, strict=True):
            recipe = _recipe(step, content, settings)
            task_hash = state_ids.step_hash(recipe)
            state_id = state_ids.state_id(parent or distribution.image_id, KIND, task_hash)
            steps.append(
                PsqlStep(
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
        return Plan(
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
            root=sources.root,
        )

    def _sources(self, request: PrepareRequest) -> Sources:
        if request.source_manifest is None:
            return self._files
        if self._scripts is None:
            raise NotImplementedYet("this engine prepares from its own files only")
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
        start = Start.of(settings)
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
                    written=tuple(text for each, text in step.options if each in "oL" and text),
                    generated=self._generated,
                )
                start = content.next
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
