"""Follows directories while steps run, and says which files in them were read.

A thread finds the directories, beside the start of the server, and takes the events off the queue
some times a second: equal ones in a row are one by then, so that a large file costs nothing, and
the queue stays far from its limit (``fs.inotify.max_queued_events``).
"""

import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import source_from_cache
from pathlib import Path

from . import inotify
from .inotify import Inotify
from .places import Kind, Place, Places, is_followed

_INTERVAL_SECONDS = 0.05
_ROUNDS = 3  # at most, to find directories that are made just then

_STRUCTURE = inotify.CREATE | inotify.MOVED_TO | inotify.DELETE | inotify.MOVED_FROM
_WRITTEN = _STRUCTURE | inotify.MODIFY | inotify.CLOSE_WRITE
_CLOSED = inotify.CLOSE_WRITE | inotify.CLOSE_NOWRITE

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What was seen while a step ran; paths are absolute and without symbolic links.

    ``read`` are the files that existed when it began and were read, ``rewritten`` those of them
    that were written, replaced or removed as well. ``listed`` are the directories that were listed,
    with the entries that they had when it began: their kinds by name. ``links`` are the watched
    symbolic links and what they lead to. ``blind`` is the reason why something may be missing,
    None if nothing can be.
    """

    read: frozenset[str] = frozenset()
    rewritten: frozenset[str] = frozenset()
    listed: Mapping[str, Mapping[str, Kind]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    blind: str | None = None


class Watch:
    """Follows the same directories for any number of steps, one after the other."""

    def __init__(
        self,
        roots: Sequence[str],
        *,
        excluded: str | None = None,
        most: int = 500,
    ) -> None:
        """Start to look for the directories; see ``Places``.

        Raises OSError when the user has too many queues of events.
        """
        self._roots = roots
        self._bounds = excluded, most
        self._queue = Inotify()
        self._places = Places(self._queue, *self._bounds)
        self._seen: dict[tuple[int, str], int] = {}
        self._blind: str | None = None
        self._failed = False
        self._lock = threading.Lock()
        self._found = threading.Event()
        self._closing = threading.Event()
        threading.Thread(target=self._run, name="observation", daemon=True).start()

    def begin(self) -> None:
        """Forget what has happened so far, except for the directories made: a step begins."""
        self._found.wait()
        with self._lock:
            self._take()
            for _ in range(_ROUNDS):
                if not self._catch_up() and self._blind is None:
                    break
                self._blind = None
                self._seen.clear()
                self._places = Places(self._queue, *self._bounds)
                self._places.follow(self._roots)
                self._take()
            self._seen.clear()

    def end(self) -> Sight:
        """Return what has happened since the step began; also when asked again later."""
        with self._lock:
            self._take()
            return self._sight()

    def notes(self) -> list[str]:
        """Say what is not followed."""
        self._found.wait()
        return self._places.notes()

    def close(self) -> None:
        """End in the background, because the kernel takes its time."""
        self._closing.set()

    def _run(self) -> None:
        try:
            with self._lock:
                self._places.follow(self._roots)
            self._found.set()
            while not self._closing.wait(_INTERVAL_SECONDS):
                with self._lock:
                    self._take()
        except Exception:
            _log.exception("directories cannot be observed")
            self._failed = True
            self._found.set()
            self._closing.wait()
        with self._lock:
            self._queue.close()

    def _take(self) -> None:
        """Take the events off the queue."""
        for watch, mask, name in self._queue.events():
            if mask & (inotify.OVERFLOW | inotify.UNMOUNT):
                self._blind = "more happened there than could be followed"
            elif not mask & inotify.IGNORED:
                key = watch, name
                self._seen[key] = self._seen.get(key, 0) | mask
                self._check_structure(watch, mask, name)

    def _check_structure(self, watch: int, mask: int, name: str) -> None:
        """Notice that a watched directory or a link comes to stand for something else."""
        place = self._places.watched.get(watch)
        if place is None or not place.matters(name) or not mask & (_STRUCTURE | inotify.MOVE_SELF):
            return
        kind = place.entries.get(name)
        moved_here = kind == "directory" and mask & inotify.MOVED_TO and is_followed(name)
        if mask & inotify.MOVE_SELF or kind == "link" or moved_here:
            self._blind = f"{place.path_of(name)} was moved or replaced"

    def _catch_up(self) -> bool:
        """Bring the entries up to date; return whether there are directories to be found."""
        made = False
        for (watch, name), mask in self._seen.items():
            place = self._places.watched.get(watch)
            if name and place is not None and mask & _STRUCTURE:
                kind = self._places.look_again(place, name)
                made |= kind == "link" or (kind == "directory" and is_followed(name))
        return made

    def _sight(self) -> Sight:
        read: set[str] = set()
        rewritten: set[str] = set()
        listed: dict[str, Mapping[str, Kind]] = {}
        for place, name, mask in self._happened():
            if place.is_bytecode:
                if name in place.entries and _is_read(mask):
                    read |= _sources(place.path_of(name))
            elif mask & inotify.IS_DIRECTORY:
                if not name and place.only is None and mask & inotify.ACCESS:
                    listed[place.path] = dict(place.entries)
            elif name in place.entries and _is_read(mask):
                read.add(place.path_of(name))
                if mask & _WRITTEN:
                    rewritten.add(place.path_of(name))
        return Sight(
            read=frozenset(read),
            rewritten=frozenset(rewritten),
            listed=listed,
            links=dict(self._places.links),
            blind="the engine failed, as its log says" if self._failed else self._blind,
        )

    def _happened(self) -> Iterator[tuple[Place, str, int]]:
        for (watch, name), mask in self._seen.items():
            place = self._places.watched.get(watch)
            if place is not None and place.matters(name):
                yield place, name, mask


def _is_read(mask: int) -> bool:
    """Return whether a file was read, or opened and not closed again."""
    return bool(
        mask & (inotify.ACCESS | inotify.CLOSE_NOWRITE)
        or (mask & inotify.OPEN and not mask & _CLOSED)
    )


def _sources(compiled: str) -> set[str]:
    """Return the source of a module that Python has compiled, if there is one."""
    try:
        source = source_from_cache(compiled)
    except ValueError:
        return set()
    return {os.path.realpath(source)} if Path(source).is_file() else set()
