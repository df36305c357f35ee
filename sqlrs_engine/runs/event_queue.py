"""Events on their way from the thread that makes them to whoever sends them."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

LIMIT_BYTES = 256 * 1024
_EVENT_BYTES = 500  # what an event takes besides its text


class EventQueue:
    """A bounded queue: a reader that stalls stalls the writer, not the memory."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._closed = self._unbounded = False
        self._on_event: Callable[[], None] = lambda: None

    def listen(self, on_event: Callable[[], None]) -> None:
        """Call back, from any thread, whenever there is something after nothing."""
        with self._changed:
            self._on_event = on_event
            ring = bool(self._events) or self._closed
        if ring:
            on_event()

    def put(self, event: Event, size: int = 0) -> None:
        """Add an event with ``size`` bytes of text, once there is room."""
        with self._changed:
            while self._bytes > self._limit and not self._unbounded:
                self._changed.wait()
            was_empty = not self._events
            self._events.append(event)
            self._bytes += size + _EVENT_BYTES
        if was_empty:
            self._on_event()

    def take(self) -> list[Event]:
        """Return the events since the last call, which makes room for more."""
        with self._changed:
            events = list(self._events)
            self._events.clear()
            self._bytes = 0
            self._changed.notify_all()
        return events

    def unblock(self) -> None:
        """Let writers through from now on: nobody may be reading any more."""
        with self._changed:
            self._unbounded = True
            self._changed.notify_all()

    def close(self) -> None:
        """Mark the last event put as the last of all."""
        with self._changed:
            self._closed = True
        self._on_event()

    @property
    def exhausted(self) -> bool:
        """Whether the last event of all has been taken."""
        with self._changed:
            return self._closed and not self._events
