"""Ending a job from outside: on request, or because the engine stops."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlrs_engine.errors import Cancelled


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The engine stops: the job is left as it is, to be resumed at the next start."""


class Cancellation:
    """What a job asks now and then, and what wakes it when it cannot ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: Exception | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._interrupted = threading.Event()

    def cancel(self) -> None:
        """End the job for good."""
        self._end(Cancelled("job cancelled", "it was cancelled on request; submit it again"))

    def interrupt(self) -> None:
        """End the job for now."""
        self._interrupted.set()
        self._end(Interrupted())

    def interrupted_within(self, seconds: float) -> bool:
        """Wait for the engine to stop, at most so long; tell whether it does."""
        return self._interrupted.wait(seconds)

    @property
    def ended(self) -> bool:
        """Whether the job has been told to end."""
        return self._reason is not None

    def check(self) -> None:
        """Raise Cancelled or Interrupted when the job is to end."""
        if self._reason is not None:
            raise self._reason

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, from the thread that ends the job, if that happens within the block.

        Never later: leaving the block waits for a callback under way.
        """
        with self._lock:
            self._callbacks.append(callback)
            ended = self.ended
        try:
            if ended:
                callback()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)

    def _end(self, reason: Exception) -> None:
        with self._lock:
            # A request to cancel stands even when the engine stops before it is met.
            if self._reason is None or isinstance(reason, Cancelled):
                self._reason = reason
            for callback in self._callbacks:
                callback()
