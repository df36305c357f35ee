"""The events of a run on their way from the thread that makes them to the client."""

import threading
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

LIMIT_BYTES = 256 * 1024
_EVENT_BYTES = 500  # the memory of an event besides its text


class EventQueue:
    """A bounded queue: a slow reader slows the writer down instead of filling the memory."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._events: list[Event] = []
        self._bytes = 0
        self._closed = self._unbounded = False
        self._on_event: Callable[[], None] = lambda: None

    def listen(self, on_event: Callable[[], None]) -> None:
        """Call ``on_event``, from any thread, whenever an empty queue gets an event or ends."""
        with self._changed:
            self._on_event = on_event
            ring = bool(self._events) or self._closed
        if ring:
            on_event()

    @property
    def full(self) -> bool:
        """Whether writers wait for the reader."""
        return self._bytes > self._limit

    def put(self, event: Event, size: int = 0) -> None:
        """Add an event with ``size`` bytes of text, once there is room."""
        with self._changed:
            while self.full and not self._unbounded:
                self._changed.wait()
            was_empty = not self._events
            self._events.append(event)
            self._bytes += size + _EVENT_BYTES
        if was_empty:
            self._on_event()

    def take(self) -> list[Event]:
        """Return the events since the last call, which makes room for more."""
        with self._changed:
            events, self._events = self._events, []
            self._bytes = 0
            self._changed.notify_all()
        return events

    def unblock(self) -> None:
        """Never block writers from now on, because the reader may be gone."""
        with self._changed:
            self._unbounded = True
            self._changed.notify_all()

    def close(self) -> None:
        """Mark the end: no event follows."""
        with self._changed:
            self._closed = True
        self._on_event()

    @property
    def exhausted(self) -> bool:
        """Whether the queue is closed and all events have been taken."""
        with self._changed:
            return self._closed and not self._events
