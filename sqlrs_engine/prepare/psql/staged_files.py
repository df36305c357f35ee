"""A client's files, staged on this machine for psql while a job runs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sqlrs_engine import ids
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.sources import Trees

from .arguments import StepArguments
from .remote_files import BlobRead


class StagedFiles:
    """The files of a plan on this machine, staged when the first step needs them."""

    def __init__(self, root: Path, files: Iterable[FileRead], trees: Trees) -> None:
        """``root`` is the client's workspace, ``files`` are those that the steps read."""
        self._root = root
        self._files = {file.key: file.digest for file in files if isinstance(file, BlobRead)}
        self._trees = trees
        self._name = ids.new_id()
        self._tree: Path | None = None
        self._staged: dict[str, FileRead] = {}

    def stage(self, arguments: StepArguments, directory: Path | None) -> tuple[StepArguments, Path]:
        """Return a step's arguments and working directory on this machine.

        Raises Conflict if an uploaded file is gone, StorageFull.
        """
        if self._tree is None:
            self._tree = self._trees.stage(self._name, self._files)
            self._staged = {key: FileRead.now(self._tree / key) for key in self._files}
        if arguments.input.kind == "file":
            file = self._tree / self._relative(Path(arguments.input.text))
            arguments = replace(arguments, input=replace(arguments.input, text=str(file)))
        staged = self._tree / self._relative(directory) if directory else self._tree
        staged.mkdir(parents=True, exist_ok=True)
        return arguments, staged

    def changed(self, files: Iterable[FileRead]) -> list[Path]:
        """Return those of a step's files that are no longer what the client sent."""
        inputs = (file for file in files if isinstance(file, BlobRead) and not file.rewritable)
        return [file.path for file in inputs if not self._staged[file.key].unchanged()]

    def with_client_paths(self, line: str) -> str:
        """Return a line of psql's output with the client's paths in place of the staged ones."""
        if self._tree is None:
            return line
        return line.replace(str(self._tree), str(self._root).rstrip("/"))

    def remove(self) -> None:
        """Remove the files from this machine."""
        if self._tree is not None:
            self._trees.remove(self._name)

    def _relative(self, path: Path) -> str:
        return str(path).removeprefix(str(self._root)).lstrip("/")
