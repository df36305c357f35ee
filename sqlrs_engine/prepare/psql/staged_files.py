"""A client's files as psql gets to see them: laid out on this machine while a job runs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from sqlrs_engine import ids
from sqlrs_engine.prepare.file_reads import FileRead
from sqlrs_engine.sources import Trees

from .arguments import StepArguments
from .remote_files import BlobRead


class StagedFiles:
    """The files of a plan on this machine, laid out when the first step needs them."""

    def __init__(self, root: Path, reads: Iterable[FileRead], trees: Trees) -> None:
        """``root`` is the client's workspace, ``reads`` are the files that all steps read."""
        self._root = root
        self._files = {read.key: read.digest for read in reads if isinstance(read, BlobRead)}
        self._trees = trees
        self._name = ids.new_id()
        self._tree: Path | None = None
        self._laid_out: dict[str, FileRead] = {}

    def place(self, arguments: StepArguments, directory: Path | None) -> tuple[StepArguments, Path]:
        """Return a step's arguments and working directory as they are here.

        Raises Conflict when an uploaded file is gone, StorageFull.
        """
        if self._tree is None:
            self._tree = self._trees.lay_out(self._name, self._files)
            self._laid_out = {key: FileRead.now(self._tree / key) for key in self._files}
        if arguments.input.kind == "file":
            file = self._tree / self._relative(Path(arguments.input.text))
            arguments = replace(arguments, input=replace(arguments.input, text=str(file)))
        place = self._tree / self._relative(directory) if directory else self._tree
        place.mkdir(parents=True, exist_ok=True)
        return arguments, place

    def changed(self, files: Iterable[FileRead]) -> list[Path]:
        """Return those of a step's files that are not what the client has sent any more."""
        reads = (read for read in files if isinstance(read, BlobRead) and not read.own)
        return [read.path for read in reads if not self._laid_out[read.key].unchanged()]

    def told(self, line: str) -> str:
        """Return a line of psql's with the client's paths in place of ours."""
        if self._tree is None:
            return line
        return line.replace(str(self._tree), str(self._root).rstrip("/"))

    def remove(self) -> None:
        """Remove what was laid out."""
        if self._tree is not None:
            self._trees.remove(self._name)

    def _relative(self, path: Path) -> str:
        return str(path).removeprefix(str(self._root)).lstrip("/")
