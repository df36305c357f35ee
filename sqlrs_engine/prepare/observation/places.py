"""The directories that a watch follows: trees within bounds, and what their symbolic links lead to.

Left out are hidden directories, those of packages and caches, and virtual environments: they are
large and change by themselves, and what is in them is seldom an input of a database.
"""

import errno
import os
import stat
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .inotify import Inotify

Kind = Literal["file", "directory", "link"]

_BYTECODE = "__pycache__"
_LEFT_OUT = frozenset({"node_modules", "vendor", _BYTECODE, "venv", "site-packages"})
_ENVIRONMENT_MARK = "pyvenv.cfg"
_SHOWN = 8
_CLOCK_TICK_NS = 20_000_000  # more than that of any kernel: times within it may look the same


def is_left_out(name: str) -> bool:
    """Return whether the files in directories of a name are no inputs."""
    return name.startswith(".") or name in _LEFT_OUT


def is_followed(name: str) -> bool:
    """Return whether directories of a name are followed."""
    return name == _BYTECODE or not is_left_out(name)


@dataclass(slots=True)
class Place:
    """A watched directory, and the kinds of its entries by name.

    ``deep`` is whether the directories in it are followed, ``changed_ns`` when it had last changed
    before it was read. ``only`` are the names that matter in a directory which is watched because
    links lead there.
    """

    path: str
    entries: dict[str, Kind] = field(default_factory=dict)
    deep: bool = False
    changed_ns: int = 0
    only: set[str] | None = None

    def path_of(self, name: str) -> str:
        """Return the path of an entry."""
        return f"{self.path.rstrip('/')}/{name}"

    @property
    def is_bytecode(self) -> bool:
        """Whether Python keeps compiled modules here, which it reads in place of their sources."""
        return self.path.endswith(f"/{_BYTECODE}")

    def matters(self, name: str) -> bool:
        """Return whether what happens to an entry, or to the directory itself, counts."""
        return self.only is None or not name or name in self.only


class Places:
    """The directories that a queue watches, by the numbers of their watches.

    ``links`` are the symbolic links in them, and what they lead to.
    """

    def __init__(self, queue: Inotify, excluded: str | None = None, most: int = 500) -> None:
        """``excluded`` is a directory that is never followed, ``most`` the bound."""
        self.watched: dict[int, Place] = {}
        self.links: dict[str, str] = {}
        self._queue = queue
        self._excluded = excluded and os.path.realpath(excluded)
        self._most = most
        self._known: set[str] = set()
        self._left_out: set[str] = set()
        self._problems: list[str] = []
        self._too_many = False
        self._exhausted = False

    def follow(self, roots: Iterable[str]) -> None:
        """Watch directories and what is below them, the nearest to the roots first."""
        waiting = [(os.path.realpath(root), not _is_common(root)) for root in roots]
        while waiting:
            # All are read first, because to read a watched directory makes events.
            found = list(self._found(waiting))
            waiting.clear()
            for place in filter(self._watch, found):
                if _changed_since(place):
                    self._read(place)
                    waiting.extend((path, True) for path in self._below(place))
        self._follow_links()

    def _found(self, roots: Iterable[tuple[str, bool]]) -> Iterator[Place]:
        """Read directories, and what is below them if they are said to be deep."""
        waiting = deque(roots)
        while waiting:
            path, deep = waiting.popleft()
            if path == self._excluded or path in self._known:
                continue
            if len(self._known) >= self._most:
                self._too_many = True
                return
            self._known.add(path)
            place = Place(path, deep=deep)
            if self._read(place):
                yield place
                if not deep and "directory" in place.entries.values():
                    self._problems.append(f"the directories in {path}, which is not a project's")
                waiting.extend((below, True) for below in self._below(place))

    def look_again(self, place: Place, name: str) -> Kind | None:
        """Bring an entry up to date; return its kind now, None if it is gone."""
        path = place.path_of(name)
        self.links.pop(path, None)
        place.entries.pop(name, None)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return None
        kind: Kind = "file"
        if stat.S_ISLNK(mode):
            self.links[path], kind = os.path.realpath(path), "link"
        elif stat.S_ISDIR(mode):
            kind = "directory"
        place.entries[name] = kind
        return kind

    def notes(self) -> list[str]:
        """Say what is not followed."""
        notes = list(self._problems)
        if self._too_many:
            notes.append(f"what is beyond {self._most} directories")
        names = sorted(self._left_out)
        more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
        return notes + names[:_SHOWN] + more

    def _watch(self, place: Place) -> bool:
        """Watch a directory; return whether it was not watched before and can be."""
        if self._exhausted:
            return False
        try:
            watch = self._queue.add(place.path)
        except OSError as error:
            self._problem(place.path, error)
            return False
        return self.watched.setdefault(watch, place) is place

    def _read(self, place: Place) -> bool:
        """Read a directory; return whether that is possible."""
        try:
            place.changed_ns = os.stat(place.path).st_mtime_ns  # noqa: PTH116 - half the time
            with os.scandir(place.path) as found:
                place.entries = {entry.name: kind_of(entry) for entry in found}
        except OSError as error:
            self._problem(place.path, error)
            return False
        for name, kind in place.entries.items():
            if kind == "link":
                path = place.path_of(name)
                self.links[path] = os.path.realpath(path)
        return True

    def _below(self, place: Place) -> Iterator[str]:
        """Yield the directories in a directory, and those that its links lead to."""
        if not place.deep:
            return
        if _ENVIRONMENT_MARK in place.entries:
            self._left_out.add(place.path.rpartition("/")[2])
            return
        for name, kind in place.entries.items():
            if kind == "file":
                continue
            path = place.path_of(name)
            if kind == "link":
                path = self.links[path]
                if not Path(path).is_dir():
                    continue
            if is_followed(name):
                yield path
            else:
                self._left_out.add(name)

    def _follow_links(self) -> None:
        """Watch the files that links lead to, by their directories."""
        known = {place.path: place for place in self.watched.values()}
        for target in set(self.links.values()):
            directory, name = os.path.split(target)
            place = known.get(directory)
            if place is None and not self._exhausted and Path(target).is_file():
                place = Place(directory, only=set())
                if self._watch(place) and self._read(place):
                    known[directory] = place
            if place is not None and place.only is not None:
                place.only.add(name)

    def _problem(self, path: str, error: OSError) -> None:
        if error.errno == errno.ENOSPC:
            self._exhausted = True
            self._problems.append("what exceeds fs.inotify.max_user_watches, which can be raised")
        elif not isinstance(error, FileNotFoundError | NotADirectoryError):
            self._problems.append(f"{path} ({error.strerror})")


def kind_of(entry: "os.DirEntry[str]") -> Kind:
    """Return the kind of an entry of a directory."""
    if entry.is_dir(follow_symlinks=False):
        return "directory"
    return "link" if entry.is_symlink() else "file"


def _changed_since(place: Place) -> bool:
    """Return whether a directory may have changed since it was read, which was before its watch."""
    try:
        changed = os.stat(place.path).st_mtime_ns  # noqa: PTH116 - half the time
    except OSError:
        return True
    return changed != place.changed_ns or time.time_ns() - changed < _CLOCK_TICK_NS


def _is_common(root: str) -> bool:
    """Return whether a directory holds more than a project: the root, a home or ``/tmp``."""
    path = Path(root).resolve()
    if path in (Path("/"), Path("~").expanduser().resolve()):
        return True
    try:
        return bool(path.stat().st_mode & stat.S_ISVTX)
    except OSError:
        return False
