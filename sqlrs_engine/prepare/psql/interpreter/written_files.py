"""What a script writes itself: files that are none of its inputs, though it may read them."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlrs_engine.prepare.psql.interpreter.session import Start


@dataclass(slots=True)
class WrittenFiles:
    """The files that a script writes, by the names they are compared by, and its programs.

    ``earlier`` are those of earlier steps. ``seen_before`` are files that programs were seen
    to write in earlier runs. ``after_programs`` are the files that are read after programs
    which may have written them, by path.
    """

    earlier: Start
    seen_before: Container[str]
    files: set[str] = field(default_factory=set)
    programs: list[str] = field(default_factory=list)
    unknown: bool = False  # whether something is written whose name only psql knows
    after_programs: dict[Path, str] = field(default_factory=dict)
    uses_earlier: bool = False

    @property
    def any(self) -> bool:
        """Whether the script has written anything so far."""
        return bool(self.files or self.programs) or self.unknown

    @property
    def may_be_any_file(self) -> bool:
        """Whether a file that is not there may be there when psql reads it."""
        return self.any or bool(self.earlier.programs)

    def include(self, path: Path, name: str) -> bool:
        """Return whether a file that is read, known as ``name``, is the script's own work."""
        if self.programs or self.earlier.programs:
            self.after_programs[path] = name
        seen = name in self.seen_before
        if name in self.files or _wrote(self.programs, path.name, seen=seen):
            return True
        if name in self.earlier.written or _wrote(self.earlier.programs, path.name, seen=seen):
            self.uses_earlier = True
            return True
        return False

    def following(self, start: Start) -> tuple[frozenset[str], tuple[str, ...]]:
        """Return the files and the programs of all steps up to this."""
        return start.written | self.files, (*start.programs, *self.programs)


def _wrote(programs: Sequence[str], name: str, *, seen: bool) -> bool:
    """Return whether programs write a file: one names it, or it was ``seen`` before."""
    return any(name in each for each in programs) or (seen and bool(programs))
