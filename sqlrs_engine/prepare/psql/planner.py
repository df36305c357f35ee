"""Reads the scripts of psql requests, with everything that they include."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sqlrs_engine.errors import NotImplementedYet
from sqlrs_engine.prepare.stages import PsqlStage
from sqlrs_engine.sources import Blobs, Trees

from .arguments import Input, PsqlArguments, StepArguments
from .draft import PsqlDraft, StepDraft
from .input_digest import InputDigest, input_digest
from .interpreter.session import SessionStart
from .local_files import LocalFiles
from .remote_files import RemoteRequestFiles, UploadedScripts
from .source_files import RequestFiles
from .staged_files import StagedFiles
from .unnamed_reads import UnnamedReads

# The options that make psql write a file.
_OUTPUT_OPTIONS = "oL"


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

        ``trees`` is where they are staged for psql. ``home`` is the user's ``$HOME``, None if
        that is not set.
        """
        self._files = files
        self._home = home
        self._generated: set[str] = set()  # what programs of scripts were seen to write
        self._uploaded_scripts = UploadedScripts(blobs) if blobs is not None else None
        self._trees = trees

    def draft(self, stage: PsqlStage, start: SessionStart) -> PsqlDraft:
        """Read a stage's arguments and every file they lead to.

        ``start`` is how the first session begins. Raises InvalidArgument, SourceInputsMissing.
        """
        request_files = self._request_files(stage)
        arguments = PsqlArguments.parse(stage.psql_args, stage.stdin, request_files.argument_path)
        with request_files.collect_missing():
            steps = self._steps(stage, arguments, request_files, start)
        files = tuple(file for step in steps for file in step.digest.files)
        directory = stage.work_dir or arguments.directory()
        staged = None
        if isinstance(request_files, RemoteRequestFiles) and self._trees is not None:
            staged = partial(StagedFiles, request_files.root, files, self._trees)
        return PsqlDraft(
            normalized=arguments.normalized,
            files=files,
            root=None if directory is None or stage.is_remote else str(directory),
            steps=tuple(steps),
            stdin=stage.stdin,
            home=self._home,
            generated=self._generated,
            stage=staged,
        )

    def _request_files(self, stage: PsqlStage) -> RequestFiles:
        if stage.source_manifest is None:
            return self._files
        if self._uploaded_scripts is None:
            raise NotImplementedYet(
                "this engine prepares only from its own files: leave out source_manifest"
            )
        return RemoteRequestFiles(stage.source_manifest, self._uploaded_scripts)

    def _steps(
        self,
        stage: PsqlStage,
        arguments: PsqlArguments,
        files: RequestFiles,
        start: SessionStart,
    ) -> list[StepDraft]:
        """Read the inputs of all steps."""
        if stage.work_dir:
            fallback = files.directory(stage.work_dir)
        else:
            fallback = arguments.directory() or files.directory(files.work_dir)
        steps: list[StepDraft] = []
        for step in arguments.steps:
            files.check_options(step)
            is_file = step.input.kind == "file"
            # A script of another machine runs in its own directory, wherever its client is.
            elsewhere = is_file and bool(stage.work_dir) and not stage.is_remote
            directory = fallback if elsewhere or not is_file else _beside(step.input)
            digest_of = partial(
                input_digest,
                stdin=stage.stdin,
                files=files.for_step(),
                directory=directory,
                variables=_variables(step),
                home=self._home,
                start=start,
                outputs=_outputs(step),
                generated=self._generated,
            )
            digest = digest_of(step.input)
            start = digest.next_start
            if stage.is_remote or fallback is None:
                digest = digest.unobserved()
            unnamed = UnnamedReads(
                digest.unnamed, bool(digest.notes), partial(_followed, digest_of)
            )
            if digest.uses_earlier:
                steps = [earlier.not_reusable() for earlier in steps]
            place = _place(step.input, directory) if elsewhere and digest.runs_programs else None
            steps.append(
                StepDraft(
                    arguments=step,
                    directory=directory,
                    digest=digest,
                    unnamed=unnamed,
                    place=place,
                )
            )
        return steps


def _followed(digest_of: Callable[[Input], InputDigest], script: Path) -> InputDigest:
    return digest_of(Input("file", str(script)))


def _beside(script: Input) -> Path:
    return Path(script.text).parent


def _place(script: Input, directory: Path | None) -> str | None:
    """Return a working directory relative to the script's, None if they are the same."""
    if directory is None:
        return None
    place = os.path.relpath(os.path.realpath(directory), os.path.realpath(_beside(script)))
    return None if place == os.curdir else place


def _outputs(step: StepArguments) -> tuple[str, ...]:
    return tuple(value for letter, value in step.options if letter in _OUTPUT_OPTIONS and value)


def _variables(step: StepArguments) -> dict[str, str]:
    variables = {}
    for letter, given in step.options:
        if letter == "S":
            variables["SINGLELINE"] = "on"
        elif letter == "v":
            name, equals, value = (given or "").partition("=")
            variables[name] = value
            if not equals:
                variables.pop(name)  # this is how psql is told to unset one
    return variables
