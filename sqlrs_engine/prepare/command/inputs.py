"""The declared inputs of a command: files below ``work_dir`` whose content counts."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import SETTLED_NS, FileDigests, FileRead
from sqlrs_engine.states import state_ids
from sqlrs_engine.store.records import Json

from .tree import Absent, Walk

_REMEMBERED = 32
_FILES_SHOWN = 1000
_EXECUTABLE = 0o100


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file: its path from ``work_dir``, and what of it counts."""

    path: str
    digest: str
    executable: bool
    read: FileRead

    def to_json(self) -> list[str | bool]:
        """Return what counts, as JSON."""
        return [_text(self.path), self.digest, self.executable]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files that patterns match, by path, and what else the match depends on."""

    files: tuple[InputFile, ...]
    seen: tuple[FileRead | Absent, ...]

    @cached_property
    def digest(self) -> str:
        """A hash of all that counts."""
        return state_ids.step_hash({"files": [file.to_json() for file in self.files]})

    @property
    def reads(self) -> tuple[FileRead, ...]:
        """The files, as they were when they were read."""
        return tuple(file.read for file in self.files)

    def unchanged(self) -> bool:
        """Return whether the patterns match the same files as before, all of them unchanged."""
        return all(each.unchanged() for each in self.seen) and all(
            file.read.unchanged() for file in self.files
        )

    def different(self, other: "Inputs") -> list[str]:
        """Return the paths of the files that only one of the two has, or that differ."""
        ours = {file.path: file.to_json() for file in self.files}
        theirs = {file.path: file.to_json() for file in other.files}
        return sorted(
            path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)
        )

    def shown(self) -> list[Json]:
        """Return the files for comparisons with later ones; whole directories if they are many."""
        if len(self.files) <= _FILES_SHOWN:
            return [{"path": _text(each.path), "digest": _shown(each)} for each in self.files]
        directories: dict[str, list[list[str | bool]]] = {}
        for file in self.files:
            directories.setdefault(file.path.rpartition("/")[0], []).append(file.to_json())
        return [
            {"path": f"{_text(path) or '.'}/", "digest": state_ids.step_hash({"files": files})}
            for path, files in directories.items()
        ]

    def newest(self) -> int:
        """Return when the latest of the files and directories changed, in ns since the epoch."""
        return max((max(read.identity[3:]) for read in self._identities()), default=0)

    def _identities(self) -> Iterator[FileRead]:
        yield from self.reads
        yield from (each for each in self.seen if isinstance(each, FileRead))


class InputFiles:
    """Finds and digests inputs; remembers them as long as they are unchanged. Thread-safe."""

    def __init__(self, digests: FileDigests) -> None:
        self._digests = digests
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[Path, tuple[str, ...]], Inputs] = OrderedDict()

    def read(self, work_dir: Path, patterns: Sequence[str]) -> Inputs:
        """Return the files below ``work_dir`` that match. Raises InvalidArgument, as ``Walk``."""
        key = (work_dir, tuple(patterns))
        with self._lock:
            known = self._known.get(key)
        if known is not None and known.unchanged():
            return known
        begun = time.time_ns()
        inputs = self._updated(known, work_dir) or self._found(work_dir, patterns)
        # What changes again within a tick of the clock may look the same: see file_reads.
        if begun - inputs.newest() >= SETTLED_NS:
            with self._lock:
                self._known[key] = inputs
                self._known.move_to_end(key)
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
        return inputs

    def _found(self, work_dir: Path, patterns: Sequence[str]) -> Inputs:
        walk = Walk(work_dir, patterns)
        files = tuple(self._file(work_dir, path) for path in walk.files)
        return Inputs(files=files, seen=tuple(walk.seen))

    def _updated(self, known: Inputs | None, work_dir: Path) -> Inputs | None:
        """Return inputs of which only the content of files has changed, None if more has."""
        if known is None or not all(each.unchanged() for each in known.seen):
            return None
        try:
            files = tuple(
                file if file.read.unchanged() else self._file(work_dir, file.path)
                for file in known.files
            )
        except InvalidArgument:
            return None
        return Inputs(files=files, seen=known.seen)

    def _file(self, work_dir: Path, path: str) -> InputFile:
        place = work_dir / path
        digest, read = self._digests.digest(place)
        # Asked after the file was read: if it changes in between, so does its identity.
        try:
            executable = bool(place.stat().st_mode & _EXECUTABLE)
        except OSError as error:
            raise InvalidArgument("cannot read file", f"{place}: {error.strerror}") from error
        return InputFile(path, digest, executable, read)


def _shown(file: InputFile) -> str:
    return f"{file.digest}x" if file.executable else file.digest


def _text(path: str) -> str:
    """Return a path as text, other bytes than UTF-8 escaped."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
