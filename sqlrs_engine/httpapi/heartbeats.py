"""Heartbeats: repetitions of the last event while a job is silent. They are never stored.

A client that reconnects asks for the events after the N lines that it has read, and these
include heartbeats. Therefore a heartbeat has a number like an event, the same in all streams
of a job, and the position in a stream is a number of events and a number of heartbeats.
"""

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass, field

import orjson

SECONDS = 1.0

MOST_JOBS = 1000
# Repeating a page of output every second would be useless.
_LONGEST = 16 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """A position between two lines: the number of events and of heartbeats before it."""

    events: int
    beats: int

    @property
    def number(self) -> int:
        """The number of lines before it."""
        return self.events + self.beats


@dataclass(slots=True)
class _JobHeartbeats:
    """The heartbeats of a job: line numbers, times, and the furthest position of any stream."""

    numbers: list[int] = field(default_factory=list)
    times: list[str] = field(default_factory=list)
    furthest: int = 0


class Heartbeats:
    """The heartbeats of all jobs. Only the event loop's thread uses them."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, _JobHeartbeats] = OrderedDict()

    def place(self, job_id: str, number: int) -> Place:
        """Return the position after this number of lines."""
        beats = bisect_left(self._of(job_id).numbers, number)
        return Place(number - beats, beats)

    def add(self, job_id: str, place: Place, time: str) -> None:
        """Add a heartbeat at a position, unless a stream has already passed it."""
        beats = self._of(job_id)
        if place.number == beats.furthest and self.due(job_id, place) is None:
            beats.numbers.append(place.number)
            beats.times.append(time)

    def due(self, job_id: str, place: Place) -> str | None:
        """Return the time of the heartbeat at a position, or None if there is none."""
        beats = self._of(job_id)
        next_is_beat = beats.numbers[place.beats : place.beats + 1] == [place.number]
        return beats.times[place.beats] if next_is_beat else None

    def until_next(self, job_id: str, place: Place, lines: int) -> int:
        """Return how many of the next ``lines`` events come before the next heartbeat."""
        following = self._of(job_id).numbers[place.beats : place.beats + 1]
        return min([lines, *(number - place.number for number in following)])

    def passed(self, job_id: str, place: Place, *, events: int = 0, beats: int = 0) -> Place:
        """Record that a stream has passed a position; return its new position."""
        there = Place(place.events + events, place.beats + beats)
        known = self._of(job_id)
        known.furthest = max(known.furthest, there.number)
        return there

    def _of(self, job_id: str) -> _JobHeartbeats:
        beats = self._jobs.setdefault(job_id, _JobHeartbeats())
        self._jobs.move_to_end(job_id)
        if len(self._jobs) > MOST_JOBS:
            self._jobs.popitem(last=False)
        return beats


def repeatable(line: bytes) -> bool:
    """Return whether an event is short enough to be repeated."""
    return len(line) <= _LONGEST


def repeated(line: bytes, time: str) -> bytes:
    """Return the line of an event with another time."""
    return orjson.dumps(orjson.loads(line) | {"ts": time})
