"""The request to end a job or a run, by a client or because the engine stops."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlrs_engine.errors import Cancelled, EngineError


class Interrupted(Exception):  # noqa: N818 - nothing went wrong
    """The engine stops: the job is left as it is, to be resumed at the next start."""


def job_cancelled() -> Cancelled:
    """Return the error of a job that a client has cancelled."""
    return Cancelled("job cancelled", "cancelled on request; submit it again")


class Cancellation:
    """A request to end work, which also wakes the work when it waits; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: Exception | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._interrupted = threading.Event()

    def cancel(self, reason: EngineError | None = None) -> None:
        """End the work for good; ``check`` raises ``reason``, by default that of a job."""
        self._end(reason or job_cancelled())

    def interrupt(self) -> None:
        """End the work for now: ``check`` raises Interrupted."""
        self._interrupted.set()
        self._end(Interrupted())

    def interrupted_within(self, seconds: float) -> bool:
        """Wait up to ``seconds`` for ``interrupt``; return whether it was called."""
        return self._interrupted.wait(seconds)

    @property
    def ended(self) -> bool:
        """Whether the work is to end."""
        return self._reason is not None

    def check(self) -> None:
        """Raise the reason when the work is to end: Cancelled, Interrupted or the one given."""
        if self._reason is not None:
            raise self._reason

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back, in the thread that ends the work, if the work is ended during the block.

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
            if self._reason is None or isinstance(self._reason, Interrupted):
                self._reason = reason
            for callback in self._callbacks:
                callback()
