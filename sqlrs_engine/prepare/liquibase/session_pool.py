"""Liquibase processes kept for a while, because a job with the same arguments often follows.

At most one process waits, so at most one uses memory unnecessarily.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from .session import Session

IDLE_SECONDS = 60.0


class SessionPool:
    """Lends sessions, each to one thread at a time; thread-safe."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._waiting: tuple[Sequence[Any], Session] | None = None
        self._timer: threading.Timer | None = None
        self._closed = False

    def take(self, key: Sequence[Any], start: Callable[[], Session]) -> Session:
        """Return the waiting session if it has this key, else a new one from ``start``."""
        with self._lock:
            if self._waiting is not None and self._waiting[0] == key:
                session = self._waiting[1]
                self._waiting = None
                if session.idle:
                    return session
                session.close()
        return start()

    def give_back(self, key: Sequence[Any], session: Session) -> None:
        """Keep a session for a while, in place of the waiting one."""
        with self._lock:
            if self._closed or not session.idle:
                session.close()
                return
            self._replace((key, session))
            self._timer = threading.Timer(self._idle_seconds, self._expire, (session,))
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """End the waiting session, and keep none from now on."""
        with self._lock:
            self._closed = True
            self._replace(None)

    def _expire(self, session: Session) -> None:
        with self._lock:
            if self._waiting is not None and self._waiting[1] is session:
                self._replace(None)

    def _replace(self, waiting: tuple[Sequence[Any], Session] | None) -> None:
        if self._waiting is not None:
            self._waiting[1].close()
        if self._timer is not None:
            self._timer.cancel()
        self._waiting = waiting
