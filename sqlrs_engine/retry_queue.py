"""Work that is tried again in the background when it fails.

A temporary shortage (of descriptors or memory, or a disk that does not answer) must not leave it
undone until the engine's next start. All such work can safely be done twice.
"""

import logging
import threading
from collections.abc import Callable

RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)


class RetryQueue:
    """Does work now or later, until it succeeds; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[str, Callable[[], object]] = {}
        self._working = False
        self._stopping = threading.Event()

    def do(self, what: str, work: Callable[[], object]) -> None:
        """Do work now, or later if it fails; ``what`` names it in the log."""
        try:
            work()
        except Exception:
            # Whatever it is may pass; that is what the queue is for.
            _log.exception("cannot %s now, trying again", what)
            self.later(what, work)

    def later(self, what: str, work: Callable[[], object]) -> None:
        """Do work in the background, until it succeeds or the engine stops."""
        with self._lock:
            self._left[what] = work
            if self._working or self._stopping.is_set():
                return
            try:
                threading.Thread(target=self._work, name="retries", daemon=True).start()
            except RuntimeError as error:  # no thread can be started: the next call starts one
                _log.warning("cannot retry failed work now: %s", error)
                return
            self._working = True

    def left(self) -> list[str]:
        """Return the names of the work that is not done yet."""
        with self._lock:
            return list(self._left)

    def stop(self) -> None:
        """Drop the work that is left: the next start of the engine does it."""
        self._stopping.set()

    def _work(self) -> None:
        while not self._stopping.wait(RETRY_SECONDS):
            with self._lock:
                left = dict(self._left)
                if not left:
                    self._working = False
                    return
            for what, work in left.items():
                self._try(what, work)

    def _try(self, what: str, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            # The thread lives on.
            _log.debug("still cannot %s: %s", what, error)
            return
        _log.info("succeeded after retries: %s", what)
        with self._lock:
            if self._left.get(what) is work:
                del self._left[what]
