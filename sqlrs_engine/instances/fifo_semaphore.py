"""A few at a time, first come first served."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FifoSemaphore:
    """Lets so many threads work at once, in the order in which they came.

    A hundred clones made side by side are all ready at the end; made a few at a time, the
    first ones are ready soon, the last ones no later, and they take less memory.
    """

    def __init__(self, at_once: int) -> None:
        self._lock = threading.Lock()
        self._free = at_once
        self._waiting: deque[threading.Event] = deque()
        self._present = 0
        self._when_free: Callable[[], object] = lambda: None

    def on_free(self, callback: Callable[[], object]) -> None:
        """Call back when nobody works or waits any more, in the thread of the last one."""
        self._when_free = callback

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn; it ends with the block."""
        self._come()
        try:
            yield
        finally:
            self._go()

    def taken(self) -> bool:
        """Return whether anybody works or waits."""
        return self._present > 0

    def _come(self) -> None:
        with self._lock:
            self._present += 1
            if self._free:
                self._free -= 1
                return
            called = threading.Event()
            self._waiting.append(called)
        called.wait()

    def _go(self) -> None:
        with self._lock:
            self._present -= 1
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1
            quiet = not self._present
        if quiet:
            self._when_free()
