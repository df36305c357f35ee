"""One builder at a time for each state; the others wait and find it built.

In memory alone: a crash leaves no lock behind.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlrs_engine.processes.cancellation import Cancellation


class BuildLocks:
    """Keys held by one thread each, and a limit of threads at work."""

    def __init__(self, slots: int) -> None:
        """``slots`` is how many may be at work at once."""
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._free = slots

    @contextmanager
    def hold(self, key: str, control: Cancellation, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold a key. ``on_wait`` is called when somebody else has it.

        Raises what ``control.check`` raises when the job is ended while it waits.
        """
        if self._taken(key):
            on_wait()
        self._wait(control, lambda: key not in self._held, lambda: self._held.add(key))
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(key)
                self._changed.notify_all()

    @contextmanager
    def slot(self, control: Cancellation) -> Iterator[None]:
        """Take one of the slots, waiting for it if need be; raises as ``hold`` does."""
        self._wait(control, lambda: self._free > 0, lambda: self._take(-1))
        try:
            yield
        finally:
            with self._changed:
                self._take(1)
                self._changed.notify_all()

    def _taken(self, key: str) -> bool:
        with self._changed:
            return key in self._held

    def _take(self, count: int) -> None:
        self._free += count

    def _wait(
        self, control: Cancellation, ready: Callable[[], bool], claim: Callable[[], None]
    ) -> None:
        with control.calling(self._wake), self._changed:
            self._changed.wait_for(lambda: control.ended or ready())
            control.check()
            claim()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
