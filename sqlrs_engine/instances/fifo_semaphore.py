"""A semaphore that serves threads in the order of their arrival."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FifoSemaphore:
    """Lets a limited number of threads work at the same time.

    A hundred clones that are made at the same time are all ready at the end. Made a few at a
    time, the first ones are ready early, the last ones no later, and they need less memory.
    """

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        self._waiting: deque[threading.Event] = deque()
        self._present = 0
        self._on_idle: Callable[[], object] = lambda: None

    def on_idle(self, callback: Callable[[], object]) -> None:
        """Call back in the last thread when no thread works or waits any longer."""
        self._on_idle = callback

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Work within the block; wait first if the limit of working threads is reached."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def busy(self) -> bool:
        """Return whether a thread works or waits."""
        return self._present > 0

    def waiting(self) -> int:
        """Return how many threads wait."""
        return len(self._waiting)

    def _enter(self) -> None:
        with self._lock:
            self._present += 1
            if self._free:
                self._free -= 1
                return
            admitted = threading.Event()
            self._waiting.append(admitted)
        admitted.wait()

    def _leave(self) -> None:
        with self._lock:
            self._present -= 1
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
            idle = not self._present
        if idle:
            self._on_idle()
