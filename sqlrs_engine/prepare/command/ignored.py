"""What wildcards leave out: files that ``.gitignore`` names, and directories of caches."""

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrs_engine.errors import InvalidArgument

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

GITIGNORE = ".gitignore"

_REPOSITORY = ".git"
_CACHES = frozenset({_REPOSITORY, ".hg", ".svn", ".venv", "node_modules", "__pycache__"})
# Caches that say so themselves (https://bford.info/cachedir/), and virtual environments.
_MARKS = frozenset({"CACHEDIR.TAG", "pyvenv.cfg"})


@dataclass(frozen=True, slots=True)
class Rules:
    """The ``.gitignore`` files that apply in one directory, from the last to the first.

    Each comes with the path of the directory from its own, which ends with ``/`` or is empty.
    """

    specs: tuple[tuple["GitIgnoreSpec", str], ...] = ()

    def within(self, name: str) -> "Rules":
        """Return the rules for a directory in this one, apart from its own file."""
        return Rules(tuple((spec, f"{prefix}{name}/") for spec, prefix in self.specs))

    def with_file(self, path: Path) -> "Rules":
        """Return the rules with a directory's own file, which exists. Raises InvalidArgument."""
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise InvalidArgument("cannot read file", f"{path}: {error.strerror}") from error
        return Rules(((_spec(text.splitlines()), ""), *self.specs))

    def leave_out(self, name: str, *, directory: bool) -> bool:
        """Return whether an entry of the directory is left out."""
        if directory and name in _CACHES:
            return True
        entry = f"{name}/" if directory else name
        for spec, prefix in self.specs:
            decision = spec.check_file(prefix + entry).include
            if decision is not None:
                return decision
        return False


def _spec(lines: Sequence[str]) -> "GitIgnoreSpec":
    """Read the lines of a ``.gitignore``; invalid ones match nothing, as in git."""
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(lines)
    except (ValueError, re.error):
        return GitIgnoreSpec.from_lines(line for line in lines if _is_valid(line))


def _is_valid(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True


def is_cache(names: Collection[str]) -> bool:
    """Return whether a directory with these names in it is a cache."""
    return not _MARKS.isdisjoint(names)


def directories_above(work_dir: Path) -> list[Path]:
    """Return the directories from the root of the repository of ``work_dir`` to its parent.

    ``work_dir`` has no symbolic links in it.
    """
    for root in (work_dir, *work_dir.parents):
        if os.path.lexists(root / _REPOSITORY):
            return [each for each in reversed(work_dir.parents) if each.is_relative_to(root)]
    return []
