"""How far a restore is: log messages, at most one a second."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlrs_engine import sizes

OnLog = Callable[[str], None]
Clock = Callable[[], float]

_SECONDS_BETWEEN = 1.0


class Throttle:
    """Says when the next message is due: the first one after a second."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + _SECONDS_BETWEEN

    def due(self) -> bool:
        """Return whether a message is due; then the next one is due a second later."""
        if self._clock() < self._next:
            return False
        self._next = self._clock() + _SECONDS_BETWEEN
        return True


class Meter:
    """Reports how much of a number of bytes is done."""

    def __init__(self, work: str, total: int, on_log: OnLog, clock: Clock = time.monotonic) -> None:
        self._work = work
        self._total = total
        self._done = 0
        self._on_log = on_log
        self._throttle = Throttle(clock)

    def add(self, count: int) -> None:
        """Count bytes that are done."""
        self._done += count
        if self._throttle.due():
            self._on_log(f"{self._work}: {of(self._done, self._total)}")


@contextmanager
def ticking(on_log: OnLog, describe: Callable[[], str]) -> Iterator[None]:
    """Log the description of the work in the block once a second, if it has changed."""
    done = threading.Event()

    def tick() -> None:
        last = ""
        while not done.wait(_SECONDS_BETWEEN):
            now = describe()
            if now != last:
                on_log(now)
                last = now

    thread = threading.Thread(target=tick, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def of(done: int, total: int) -> str:
    """Return how much of a number of bytes is done: ``1.2 GiB of 3.4 GiB``."""
    return f"{sizes.text(done)} of {sizes.text(total)}"
