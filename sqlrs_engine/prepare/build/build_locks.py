"""Locks that let one job build a state; others wait and then find it built.

In memory alone: a crash leaves no lock behind.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from sqlrs_engine.processes.cancellation import Cancellation


class BuildLocks:
    """Keys held by one thread each, and a limited number of permits to build."""

    def __init__(self, permits: int) -> None:
        """``permits`` is how many threads may build at once."""
        self._changed = threading.Condition()
        self._holders: dict[str, int] = {}
        self._wanted: Counter[str] = Counter()
        self._permits = permits

    @contextmanager
    def hold(
        self, key: str, cancellation: Cancellation, on_wait: Callable[[], None]
    ) -> Iterator[None]:
        """Hold a key for the block; see ``acquire``."""
        self.acquire(key, cancellation, on_wait)
        try:
            yield
        finally:
            self.release([key])

    def acquire(self, key: str, cancellation: Cancellation, on_wait: Callable[[], None]) -> None:
        """Take a key, to be released. ``on_wait`` is called when another thread has it.

        Raises what ``cancellation.check`` raises when the job is ended while it waits.
        """
        waits = self._want(key)
        try:
            if waits:
                on_wait()
            self._wait(cancellation, lambda: key not in self._holders, lambda: self._hold(key))
        finally:
            if waits:
                with self._changed:
                    self._wanted -= Counter([key])

    def release(self, keys: Iterable[str]) -> None:
        """Give keys back; those that the calling thread does not hold are ignored."""
        thread = threading.get_ident()
        with self._changed:
            for key in keys:
                if self._holders.get(key) == thread:  # it may be another's after an earlier release
                    del self._holders[key]
            self._changed.notify_all()

    def is_wanted(self, key: str) -> bool:
        """Return whether a thread waits for a key."""
        with self._changed:
            return key in self._wanted

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

    def _want(self, key: str) -> bool:
        """Return whether a key is held, and count it as wanted then."""
        with self._changed:
            if key not in self._holders:
                return False
            self._wanted[key] += 1
            return True

    def _hold(self, key: str) -> None:
        self._holders[key] = threading.get_ident()

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
