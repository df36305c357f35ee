"""Reads the scripts of psql requests, with all that they include."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sqlrs_engine.errors import NotImplementedYet
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs, Trees

from .arguments import PsqlArguments, StepArguments
from .draft import PsqlDraft, StepDraft
from .input_digest import InputDigest, input_digest
from .interpreter.session import SessionStart
from .local_files import LocalFiles
from .remote_files import RemoteSources, Scripts
from .script_files import ScriptFiles
from .staged_files import StagedFiles


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
    """Drafts the plans of scripts; remembers what it has read of files."""

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

    def draft(self, request: PrepareRequest, settings: Mapping[str, Any]) -> PsqlDraft:
        """Read a request's arguments and every file they lead to.

        ``settings`` are the server's, beyond the engine's own. Raises InvalidArgument,
        SourceInputsMissing.
        """
        sources = self._sources(request)
        arguments, contents = self._read(request, sources, settings)
        files = tuple(read for content, _ in contents for read in content.files)
        staged = None
        if isinstance(sources, RemoteSources) and self._trees is not None:
            staged = partial(StagedFiles, sources.root, files, self._trees)
        return PsqlDraft(
            request=request,
            normalized=arguments.normalized,
            settings=settings,
            files=files,
            steps=tuple(
                StepDraft(arguments=step, directory=directory, content=content)
                for step, (content, directory) in zip(arguments.steps, contents, strict=True)
            ),
            home=self._home,
            generated=self._generated,
            stage=staged,
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
