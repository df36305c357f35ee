"""Locks that let one job build a state; others wait and then find it built.

In memory alone: a crash leaves no lock behind.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlrs_engine.processes.cancellation import Cancellation


class BuildLocks:
    """Keys held by one thread each, and a limited number of permits to build."""

    def __init__(self, permits: int) -> None:
        """``permits`` is how many threads may build at once."""
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._permits = permits

    @contextmanager
    def hold(
        self, key: str, cancellation: Cancellation, on_wait: Callable[[], None]
    ) -> Iterator[None]:
        """Hold a key. ``on_wait`` is called when another thread has it.

        Raises what ``cancellation.check`` raises when the job is ended while it waits.
        """
        if self._is_held(key):
            on_wait()
        self._wait(cancellation, lambda: key not in self._held, lambda: self._held.add(key))
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()

    @contextmanager
    def permit(self, cancellation: Cancellation) -> Iterator[None]:
        """Hold one of the permits, after waiting for it if necessary; raises as ``hold`` does."""
        self._wait(cancellation, lambda: self._permits > 0, lambda: self._change_permits(-1))
        try:
            yield
        finally:
            with self._changed:
                self._change_permits(1)
                self._changed.notify_all()

    def _is_held(self, key: str) -> bool:
        with self._changed:
            return key in self._held

    def _change_permits(self, by: int) -> None:
        self._permits += by

    def _wait(
        self, cancellation: Cancellation, ready: Callable[[], bool], claim: Callable[[], None]
    ) -> None:
        with cancellation.calling(self._wake), self._changed:
            self._changed.wait_for(lambda: cancellation.ended or ready())
            cancellation.check()
            claim()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
