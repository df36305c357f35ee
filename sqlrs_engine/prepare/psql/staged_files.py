"""A client's files as psql gets to see them: laid out on this machine while a job runs."""

from dataclasses import replace
from pathlib import Path

from sqlrs_engine.prepare.local_files import FileRead
from sqlrs_engine.prepare.plan import Plan, Step
from sqlrs_engine.sources import Trees

from .arguments import StepArguments
from .planner import PsqlStep
from .remote_files import BlobRead


class StagedFiles:
    """The files of a plan on this machine, laid out when the first step needs them."""

    def __init__(self, plan: Plan, trees: Trees, job_id: str) -> None:
        self._plan = plan
        self._trees = trees
        self._job_id = job_id
        self._tree: Path | None = None
        self._laid_out: dict[str, FileRead] = {}

    def step(self, step: PsqlStep) -> tuple[StepArguments, Path]:
        """Return a step's arguments and working directory as they are here.

        Raises Conflict when an uploaded file is gone, StorageFull.
        """
        if self._tree is None:
            files = self._files()
            self._tree = self._trees.lay_out(self._job_id, files)
            self._laid_out = {key: FileRead.now(self._tree / key) for key in files}
        arguments = step.arguments
        if arguments.input.kind == "file":
            file = self._tree / self._relative(Path(arguments.input.text))
            arguments = replace(arguments, input=replace(arguments.input, text=str(file)))
        directory = self._tree / self._relative(step.directory) if step.directory else self._tree
        directory.mkdir(parents=True, exist_ok=True)
        return arguments, directory

    def changed_files(self, step: Step) -> list[Path]:
        """Return the files of a step that are not what the client has sent any more."""
        reads = (read for read in step.files if isinstance(read, BlobRead) and not read.own)
        return [read.path for read in reads if not self._laid_out[read.key].unchanged()]

    def told(self, line: str) -> str:
        """Return a line of psql's with the client's paths in place of ours."""
        if self._tree is None:
            return line
        return line.replace(str(self._tree), str(self._plan.root).rstrip("/"))

    def remove(self) -> None:
        """Remove what was laid out."""
        self._trees.remove(self._job_id)

    def _files(self) -> dict[str, str]:
        reads = (read for step in self._plan.steps for read in step.files)
        return {read.key: read.digest for read in reads if isinstance(read, BlobRead)}

    def _relative(self, path: Path) -> str:
        return str(path).removeprefix(str(self._plan.root)).lstrip("/")
