"""A run in progress: programs one after another, their output read as it comes.

A thread reads what they print and hands it on as events. It is never more than a small
backlog ahead of whoever takes them.
"""

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.errors import Cancelled, EngineError
from sqlrs_engine.processes.group import Pipe, Popen, Program

from .event_queue import Event, EventQueue

Launch = Callable[[], Popen]
T = TypeVar("T")
R = TypeVar("R")

TERM_SECONDS = 0.5
KILL_SECONDS = 5.0

# A character takes at most 6 bytes in JSON (\u0000): a line stays below 49 KiB, and
# clients that read lines of at most 64 KiB can read it.
_CHUNK_CHARS = 8 * 1024

_log = logging.getLogger(__name__)


class Run:
    """Programs run one after another against an instance; the first failure ends it.

    The first one is started by the constructor, so that a program which cannot start is
    an error of the request, the others when their turn comes. Call ``start`` to begin
    reading.

    ``settle`` is called when all processes are gone and before the last event, with
    whether the run was cut short; what it returns is told as ``log`` events. ``on_end`` is
    called after the last event. Both run in the run's thread; what they raise is logged.

    Raises what the first ``launch`` raises.
    """

    def __init__(
        self,
        instance_id: str,
        launches: Sequence[Launch],
        *,
        notes: Sequence[str] = (),
        settle: Callable[[bool], Sequence[str]] = lambda cut_short: (),
        on_end: "Callable[[Run], object]" = lambda run: None,
        clock: Clock = utc_now,
    ) -> None:
        self.instance_id = instance_id
        self._waiting = deque(launches)
        self._settle = settle
        self._on_end = on_end
        self._clock = clock
        self._backlog = EventQueue()
        self._state = threading.Lock()
        self._ended_by: EngineError | None = None
        self._thread: threading.Thread | None = None
        self._program = Program(self._waiting.popleft()())
        for note in notes:
            self._put("log", size=len(note), message=note)
        self._put("start", instance_id=instance_id)

    def start(self, on_event: Callable[[], None]) -> None:
        """Begin reading; ``on_event`` is called, from a thread, when there is something."""
        self._backlog.listen(on_event)
        self._begin()

    def take(self) -> list[Event]:
        """Return the events that have come since the last call and make room for more."""
        return self._backlog.take()

    @property
    def finished(self) -> bool:
        """Whether the last event has been taken."""
        return self._backlog.exhausted

    def cancel(self) -> None:
        """End the process group and wait for it; harmless when the run is over."""
        self.interrupt(Cancelled("the run was cancelled"))
        if not self.wait(TERM_SECONDS):
            self.kill()
            if not self.wait(KILL_SECONDS):
                _log.error("a run against %s does not end", self.instance_id)

    def interrupt(self, reason: EngineError) -> None:
        """Ask the processes to end; ``reason`` is what the client is told.

        SIGTERM, which psql and pgbench obey at once. At SIGINT psql would cancel its
        query, as at Ctrl-C, and carry on with the next statement.
        """
        with self._state:
            if self._ended_by is None:
                self._ended_by = reason
            program = self._program
        self._backlog.unblock()
        program.stop(signal.SIGTERM)
        self._begin()  # a run that was never started has processes to wait for, too

    def kill(self) -> None:
        """End the processes that did not heed ``interrupt``."""
        self._program.stop(signal.SIGKILL)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of a run that was started or interrupted; tell whether it came."""
        if self._thread is None:
            return False
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def _begin(self) -> None:
        with self._state:
            if self._thread is None:
                # A daemon: a process that the kernel does not let die must not keep the engine.
                name = f"run-{self.instance_id[:12]}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            ending = self._outcome()
            for note in self._call(self._settle, self._ended_by is not None) or ():
                self._put("log", size=len(note), message=note)
            self._put(**ending)
            self._call(self._on_end, self)
        finally:
            self._backlog.close()

    def _call(self, hook: Callable[[T], R], argument: T) -> R | None:
        try:
            return hook(argument)
        except Exception:
            _log.exception("a run against %s was not ended properly", self.instance_id)
            return None

    def _outcome(self) -> Event:
        """Run everything and return the last event without its time."""
        try:
            code = self._run_all()
        except EngineError as error:
            return _error_event(error)
        except Exception:
            _log.exception("a run against %s broke", self.instance_id)
            return _error_event(EngineError("the run broke", "the engine's log says why"))
        return {"kind": "exit", "exit_code": code}

    def _run_all(self) -> int:
        while True:
            code = self._program.read(self._put_text)
            if self._ended_by is not None:
                raise self._ended_by
            if code != 0 or not self._waiting:
                return code
            self._launch_next()

    def _launch_next(self) -> None:
        program = Program(self._waiting.popleft()())
        with self._state:
            self._program = program
            is_late = self._ended_by is not None
        if is_late:
            program.stop(signal.SIGTERM)

    def _put_text(self, pipe: Pipe, text: str) -> None:
        if self._ended_by is not None:
            return  # nobody waits for it any more
        for start in range(0, len(text), _CHUNK_CHARS):
            data = text[start : start + _CHUNK_CHARS]
            self._put(pipe, size=len(data) if data.isascii() else 4 * len(data), data=data)

    def _put(self, kind: str, size: int = 0, **fields: Any) -> None:
        self._backlog.put({"type": kind, "ts": self._clock(), **fields}, size)


def _error_event(error: EngineError) -> Event:
    return {"kind": "error", "error": error.as_dict(), "message": str(error)}
