"""The walk through a directory to the files that patterns match."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileRead

from .ignored import GITIGNORE, Rules, directories_above, is_cache
from .patterns import Pattern, Place, Places

MOST_FILES = 100_000
_MOST_DIRECTORIES = 50_000
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class Absent:
    """A file that did not exist."""

    path: Path

    def unchanged(self) -> bool:
        """Return whether it still does not exist."""
        return not os.path.lexists(self.path)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory, symbolic links followed."""

    name: str
    is_directory: bool
    is_link: bool


@dataclass(frozen=True, slots=True)
class _Directory:
    """A directory on the way; ``prefix`` is its path from ``work_dir``, ``above`` what it is in."""

    path: Path
    prefix: str
    places: Places
    rules: Rules
    above: tuple[tuple[int, int], ...]


class Walk:
    """A walk from ``work_dir``: into the directories that patterns may lead to, and no others.

    Symbolic links are followed, wherever they lead, but not to a directory that contains them.
    ``files`` are the paths found, relative to ``work_dir``. ``seen`` is what the result depends on
    besides the existence and the content of these files.
    """

    def __init__(self, work_dir: Path, texts: Sequence[str]) -> None:
        """Walk. Raises InvalidArgument.

        It is raised for an invalid pattern or one that matches no file, for more files than a
        command can have, and for a directory that cannot be read.
        """
        self.files: list[str] = []
        self.seen: list[FileRead | Absent] = []
        self._work_dir = work_dir
        self._matched: set[Pattern] = set()
        patterns, places = Places.start(texts)
        if patterns and all(pattern.excludes for pattern in patterns):
            raise InvalidArgument(
                "the inputs only leave out files: add a pattern that matches some", ", ".join(texts)
            )
        if patterns:
            self._walk(_Directory(work_dir, "", places, self._rules_above(), ()))
        missing = [each.text for each in patterns if not (each.excludes or each in self._matched)]
        if missing:
            raise InvalidArgument(
                "an input pattern matches no file: correct it, or remove it from inputs",
                f"{', '.join(missing)} in {work_dir}; files that a .gitignore names, and caches "
                "such as node_modules, match only by name",
            )
        self.files.sort()

    def _rules_above(self) -> Rules:
        rules = Rules()
        work_dir = self._work_dir.resolve()
        for directory, below in pairwise([*directories_above(work_dir), work_dir]):
            rules = self._with_own(rules, directory).within(below.name)
        return rules

    def _with_own(self, rules: Rules, directory: Path) -> Rules:
        """Return the rules with those of the directory itself."""
        path = directory / GITIGNORE
        try:
            read = FileRead.now(path)
        except FileNotFoundError:
            self.seen.append(Absent(path))
            return rules
        except OSError as error:
            raise InvalidArgument("cannot read file", f"{path}: {error.strerror}") from error
        self.seen.append(read)
        return rules.with_file(path)

    def _walk(self, start: _Directory) -> None:
        pending = [start]
        entered = 0
        while pending:
            directory = pending.pop()
            entered += 1
            if entered > _MOST_DIRECTORIES:
                raise self._too_many("directories", _MOST_DIRECTORIES)
            try:
                pending += self._enter(directory)
            except OSError as error:
                raise InvalidArgument(
                    "cannot read a directory of the inputs", f"{directory.path}: {error.strerror}"
                ) from error

    def _enter(self, directory: _Directory) -> Iterator[_Directory]:
        """Collect the files in a directory, and yield the directories to go on to."""
        names, places, rules = directory.places.names, directory.places, directory.rules
        status = directory.path.stat()
        if names is None:
            # Before it is listed, so that a later change is noticed.
            self.seen.append(FileRead.now(directory.path))
            entries = list(_listed(directory.path))
            present = {entry.name for entry in entries}
            if directory.prefix and is_cache(present):
                places = places.named
            has_rules = GITIGNORE in present
        else:
            entries = list(_named(directory.path, names))
            has_rules = True  # perhaps
        if has_rules:
            rules = self._with_own(rules, directory.path)
        above = (*directory.above, (status.st_dev, status.st_ino))
        for entry in entries:
            reached = places.enter(entry.name)
            left_out = bool(reached) and rules.leave_out(entry.name, directory=entry.is_directory)
            if left_out:
                reached = [each for each in reached if each.named or each.route.pattern.excludes]
            if not reached:
                continue
            path = f"{directory.prefix}{entry.name}"
            if not entry.is_directory:
                self._found(path, reached)
            elif below := Places(reached):
                inside = directory.path / entry.name
                if not (entry.is_link and _leads_to_one(inside, above)):
                    # What leaves a directory out would leave out all that is in it.
                    rules_below = Rules() if left_out else rules.within(entry.name)
                    yield _Directory(inside, f"{path}/", below, rules_below, above)

    def _found(self, path: str, reached: Sequence[Place]) -> None:
        matching = {place.route.pattern for place in reached if place.complete}
        if not matching or any(pattern.excludes for pattern in matching):
            return
        self._matched |= matching
        self.files.append(path)
        if len(self.files) > MOST_FILES:
            raise self._too_many("files", MOST_FILES)

    def _too_many(self, what: str, most: int) -> InvalidArgument:
        return InvalidArgument(
            f"the inputs have more than {most:,} {what}: use narrower patterns", str(self._work_dir)
        )


def _listed(directory: Path) -> Iterator[Entry]:
    with os.scandir(directory) as found:
        for entry in found:
            # Of a link that leads in a circle, is_dir and is_file raise; of one to nothing not.
            if entry.is_symlink() and _leads_nowhere(Path(entry.path)):
                continue
            if entry.is_dir() or entry.is_file():
                yield Entry(entry.name, entry.is_dir(), entry.is_symlink())


def _leads_nowhere(link: Path) -> bool:
    try:
        link.stat()
    except OSError as error:
        if error.errno in _NO_FILE:
            return True
        raise
    return False


def _named(directory: Path, names: Iterable[str]) -> Iterator[Entry]:
    for name in names:
        path = directory / name
        try:
            mode = path.stat().st_mode
        except OSError as error:
            if error.errno in _NO_FILE:
                continue
            raise
        if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
            yield Entry(name, stat.S_ISDIR(mode), path.is_symlink())


def _leads_to_one(link: Path, above: Iterable[tuple[int, int]]) -> bool:
    """Return whether a link leads to one of the directories ``above`` it."""
    status = link.stat()
    return (status.st_dev, status.st_ino) in above
