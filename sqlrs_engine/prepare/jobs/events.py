"""The events of jobs: seen by readers at once, written to the store in batches.

A line is in memory until it is in the store, so a reader finds every line in one of the two. A
thread that appends faster than the writer stores has to store as well, which limits the memory in
use.
"""

import json
import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlrs_engine import stream
from sqlrs_engine.clock import Clock, Timestamp
from sqlrs_engine.errors import EngineError
from sqlrs_engine.store import JobStore

BATCH_SECONDS = 0.03
RETRY_SECONDS = 1.0
READ_LIMIT = 1000
BACKLOG_BYTES = 2 * 1024 * 1024
_ALL = 2**31

LogState = Literal["open", "ended", "suspended"]
"""Whether more events follow: maybe, none, or only after the engine's next start."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some events, as lines without their newlines, and the state of the log before them.

    No event follows an empty batch whose state is ``ended``.
    """

    lines: list[bytes]
    state: LogState


def encode_event(time: Timestamp, kind: str, fields: dict[str, Any]) -> bytes:
    """Return an event as a line without its newline; fields that are None are left out."""
    event = {"type": kind, "ts": time}
    event |= {name: value for name, value in fields.items() if value is not None}
    try:
        return stream.encode_line(event)[:-1]
    except TypeError:  # a file's name, say, that is no text
        readable = json.dumps(event, ensure_ascii=False, default=str)
        return readable.encode(errors="replace")


@dataclass(slots=True)
class _Live:
    """The log of a running job: ``stored`` lines are in the store, the rest in ``lines``."""

    stored: int
    lines: list[bytes] = field(default_factory=list)
    # Bytes appended since an appending thread last had to store them.
    backlog: int = 0
    # Held while lines move to the store, so that two threads never move the same.
    moving: threading.Lock = field(default_factory=threading.Lock)


class EventLog:
    """Appends, replays and follows events; safe to use from any thread."""

    def __init__(self, jobs: JobStore, clock: Clock) -> None:
        self._jobs = jobs
        self._clock = clock
        self._lock = threading.Lock()
        self._live: dict[str, _Live] = {}
        self._listeners: defaultdict[str, list[Callable[[], None]]] = defaultdict(list)
        self._suspended: set[str] = set()
        self._kept: dict[str, list[bytes]] = {}
        self._dirty = threading.Event()
        self._closed = threading.Event()
        self._writer = threading.Thread(target=self._write, name="event-writer", daemon=True)
        self._writer.start()

    def open(self, job_id: str) -> None:
        """Begin the log of a job, or continue it after a restart."""
        stored = self._jobs.event_count(job_id)
        with self._lock:
            self._suspended.discard(job_id)
            self._live.setdefault(job_id, _Live(stored))

    def append(self, job_id: str, kind: str, **fields: Any) -> None:
        """Add an event to an open log; fields that are None are left out."""
        line = encode_event(self._clock(), kind, fields)
        with self._lock:
            live = self._live.get(job_id)
            if live is None:
                return  # the job was deleted while it ran
            live.lines.append(line)
            live.backlog += len(line)
            too_many = live.backlog >= BACKLOG_BYTES
            if too_many:
                live.backlog = 0
        self._dirty.set()
        self._notify(job_id)
        if too_many:
            self._store(job_id, live)

    def flush(self, job_id: str) -> int:
        """Store what a job's log still holds in memory; return how many events it has.

        Raises StorageFull or Unavailable when they cannot be stored; they stay in memory.
        """
        with self._lock:
            live = self._live.get(job_id)
        if live is None:
            return self._jobs.event_count(job_id)
        with live.moving:
            self._move(job_id, live)
            return live.stored

    def close(self, job_id: str, *, suspended: bool = False) -> None:
        """End a log; its followers read the rest from the store.

        ``suspended`` is whether the job continues at the engine's next start.
        """
        with self._lock:
            self._live.pop(job_id, None)
            if suspended:
                self._suspended.add(job_id)
        self._notify(job_id)

    def keep(self, job_id: str) -> None:
        """Keep the events of a job that is about to be deleted, for its current followers."""
        if self.followed(job_id):
            lines = self._jobs.events(job_id, 0, _ALL)
            with self._lock:
                if job_id in self._listeners:
                    self._kept[job_id] = lines

    def stop(self) -> None:
        """Store what is left, and suspend all logs: the engine stops."""
        self._closed.set()
        self._dirty.set()
        self._writer.join()
        with self._lock:
            job_ids = [*self._live, *self._listeners]
        for job_id in job_ids:
            self._notify(job_id)

    def read(self, job_id: str, start: int) -> Batch:
        """Return the events from index ``start``, all of them or the next batch."""
        with self._lock:
            live = self._live.get(job_id)
            if live is not None and start >= live.stored:
                first = start - live.stored
                return Batch(live.lines[first : first + READ_LIMIT], self._state(job_id))
            state = self._state(job_id)
        # The row is asked first: the events before its end are in the store by then.
        if live is None and self._is_over(job_id):
            state = "ended"
        lines = self._jobs.events(job_id, start, READ_LIMIT)
        if not lines:
            # Asked last: the job may have been deleted just now, after they were kept.
            with self._lock:
                lines = self._kept.get(job_id, [])[start:]
        return Batch(lines, state)

    def subscribe(self, job_id: str, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back, from any thread, after each change; return a function that stops this."""
        with self._lock:
            self._listeners[job_id].append(callback)

        def end() -> None:
            with self._lock:
                self._listeners[job_id].remove(callback)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]
                    self._kept.pop(job_id, None)

        return end

    def followed(self, job_id: str) -> bool:
        """Return whether a client follows the job's events now."""
        with self._lock:
            return job_id in self._listeners

    def _state(self, job_id: str) -> LogState:
        """Return the state of a log whose job is not over."""
        return "suspended" if self._closed.is_set() or job_id in self._suspended else "open"

    def _is_over(self, job_id: str) -> bool:
        """Return whether a job has ended or is gone."""
        job = self._jobs.get(job_id)
        return job is None or job.is_over

    def _notify(self, job_id: str) -> None:
        with self._lock:
            callbacks = list(self._listeners.get(job_id, ()))
        for callback in callbacks:
            callback()

    def _write(self) -> None:
        """Store lines as they arrive; a burst of them in one transaction."""
        while not self._closed.is_set():
            self._dirty.wait()
            self._closed.wait(BATCH_SECONDS)
            self._dirty.clear()
            if not self._store_all():
                self._dirty.set()
                self._closed.wait(RETRY_SECONDS)
        self._store_all()

    def _store_all(self) -> bool:
        """Move all lines to the store; return whether that succeeded."""
        with self._lock:
            logs = [(job_id, live) for job_id, live in self._live.items() if live.lines]
        # Whatever is wrong with the events of one job must not hold up those of others.
        failures = [job_id for job_id, live in logs if not self._store(job_id, live)]
        return not failures

    def _store(self, job_id: str, live: _Live) -> bool:
        """Move a job's lines to the store; return whether that succeeded."""
        try:
            with live.moving:
                self._move(job_id, live)
        except EngineError as error:
            _log.warning("events of job %s wait to be stored: %s", job_id, error)
            return False
        except Exception:
            _log.exception("events of job %s cannot be stored", job_id)
            return False
        return True

    def _move(self, job_id: str, live: _Live) -> None:
        """Move a job's lines to the store. The caller holds ``live.moving``."""
        with self._lock:
            lines = list(live.lines)
        if lines:
            self._jobs.append_events(job_id, live.stored, lines)
            with self._lock:
                live.stored += len(lines)
                del live.lines[: len(lines)]
