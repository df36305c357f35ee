"""The files that a script writes itself: they are not inputs, even if it reads them."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .session import SessionStart


@dataclass(slots=True)
class WrittenFiles:
    """The files that a script writes, by their resolved names, and the programs it runs.

    ``start`` holds those of earlier steps. ``generated`` are the files that programs were seen to
    write in earlier runs. ``after_programs`` are the files that are read after programs which
    may have written them: the resolved names by path.
    """

    start: SessionStart
    generated: Container[str]
    files: set[str] = field(default_factory=set)
    programs: list[str] = field(default_factory=list)
    unknown: bool = False  # whether the script writes a file whose name only psql knows
    after_programs: dict[Path, str] = field(default_factory=dict)
    uses_earlier: bool = False

    @property
    def any(self) -> bool:
        """Whether the script has written anything so far."""
        return bool(self.files or self.programs) or self.unknown

    @property
    def may_be_any_file(self) -> bool:
        """Whether a file that does not exist may exist by the time psql reads it."""
        return self.any or bool(self.start.programs)

    def check_read(self, path: Path, name: str) -> bool:
        """Return whether a file that is read is written by the script or by earlier steps.

        ``name`` is its resolved name.
        """
        if self.programs or self.start.programs:
            self.after_programs[path] = name
        generated = name in self.generated
        if name in self.files or _write(self.programs, path.name, generated=generated):
            return True
        earlier = _write(self.start.programs, path.name, generated=generated)
        if name in self.start.written or earlier:
            self.uses_earlier = True
            return True
        return False

    def following(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """Return the files and the programs of all steps up to this one."""
        return self.start.written | self.files, (*self.start.programs, *self.programs)


def _write(programs: Sequence[str], name: str, *, generated: bool) -> bool:
    """Return whether programs write a file: they name it, or it was ``generated`` before."""
    return any(name in program for program in programs) or (generated and bool(programs))
