"""Repetitions of the last event while a job is silent: signs of life, never stored.

A client that reconnects asks for the events after the N lines that it has read, and it has
read the repetitions, too. So each has a number like any event, the same in all streams of a
job: a stream is where it is by how many events and how many repetitions came before.
"""

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field

import orjson

SECONDS = 1.0

_JOBS = 1000
# Repeating a page of output once a second would tell nothing more.
_LONGEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two lines: the events and the repetitions before it."""

    events: int
    beats: int

    @property
    def number(self) -> int:
        """How many lines come before it."""
        return self.events + self.beats


@dataclass(slots=True)
class _Beats:
    """The repetitions of a job: their numbers, their times, and how far any stream has got."""

    numbers: list[int] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    furthest: int = 0


class Heartbeats:
    """The repetitions of all jobs; used by the event loop's thread alone."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, _Beats] = OrderedDict()

    def place(self, job_id: str, number: int) -> Place:
        """Return the place after so many lines."""
        beats = bisect_left(self._of(job_id).numbers, number)
        return Place(number - beats, beats)

    def add(self, job_id: str, place: Place, time: str) -> None:
        """Repeat the last event at a place; not where a stream has gone past it."""
        beats = self._of(job_id)
        if place.number == beats.furthest and self.due(job_id, place) is None:
            beats.numbers.append(place.number)
            beats.times.append(time)

    def due(self, job_id: str, place: Place) -> str | None:
        """Return the time of the repetition that comes next at a place, if one does."""
        beats = self._of(job_id)
        next_is_beat = beats.numbers[place.beats : place.beats + 1] == [place.number]
        return beats.times[place.beats] if next_is_beat else None

    def until_next(self, job_id: str, place: Place, lines: int) -> int:
        """Return how many of so many events come before the next repetition."""
        following = self._of(job_id).numbers[place.beats : place.beats + 1]
        return min([lines, *(number - place.number for number in following)])

    def passed(self, job_id: str, place: Place, *, events: int = 0, beats: int = 0) -> Place:
        """Record that a stream has gone so far from a place; return where it is then."""
        there = Place(place.events + events, place.beats + beats)
        known = self._of(job_id)
        known.furthest = max(known.furthest, there.number)
        return there

    def _of(self, job_id: str) -> _Beats:
        beats = self._jobs.setdefault(job_id, _Beats())
        self._jobs.move_to_end(job_id)
        if len(self._jobs) > _JOBS:
            self._jobs.popitem(last=False)
        return beats


def repeatable(line: bytes) -> bool:
    """Return whether an event is short enough to be repeated."""
    return len(line) <= _LONGEST


def repeated(line: bytes, time: str) -> bytes:
    """Return an event's line with another time."""
    return orjson.dumps(orjson.loads(line) | {"ts": time})
