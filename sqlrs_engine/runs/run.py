"""A run in progress: programs one after another, their output read as it arrives.

A thread reads what they print and passes it on as events. The queue in between is bounded: a
client that reads slowly slows the programs down.
"""

import logging
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.errors import ENGINE_FAILED, Cancelled, EngineError
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Text
from sqlrs_engine.processes.program import GRACE_SECONDS, Popen, Program, Stream

from .event_queue import Event, EventQueue

Launch = Callable[[], Popen]
T = TypeVar("T")
R = TypeVar("R")

END_SECONDS = 5.0
"""How long killed processes and the run's database sessions may take to be gone."""

# psql and pgbench obey SIGTERM at once. At SIGINT psql would cancel its query, as at Ctrl-C,
# and carry on with the next statement.
_SIGNALS = (signal.SIGTERM, signal.SIGKILL)

# A character takes at most 6 bytes in JSON (\u0000): a line stays below 49 KiB, and
# clients that read lines of at most 64 KiB can read it.
_CHUNK_CHARS = 8 * 1024

_log = logging.getLogger(__name__)


class Run:
    """Programs run one after another against an instance; the first failure ends the run.

    The constructor starts the first program, so that a failure to start is an error of the request;
    the others start in turn. Call ``start`` to begin reading.

    When all processes are gone, ``settle`` is called before the last event with whether the
    run was cut short; what it returns becomes ``log`` events. ``on_end`` is called after the
    last event. Both are called in the run's thread; what they raise is logged.

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
        queue: EventQueue | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.instance_id = instance_id
        self._waiting = deque(launches)
        self._settle = settle
        self._on_end = on_end
        self._clock = clock
        self._queue = queue or EventQueue()
        self._cancellation = Cancellation()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._program = Program(self._waiting.popleft()())
        for note in notes:
            self._put("log", size=len(note), message=note)
        self._put("start", instance_id=instance_id)

    def start(self, on_event: Callable[[], None]) -> None:
        """Begin reading; ``on_event`` is called, from any thread, when there are events."""
        self._queue.listen(on_event)
        self._begin()

    def take(self) -> list[Event]:
        """Return the events since the last call, which makes room for more."""
        return self._queue.take()

    @property
    def finished(self) -> bool:
        """Whether the last event has been taken."""
        return self._queue.exhausted

    def cancel(self) -> None:
        """End the process group and wait for its end; harmless when the run is over."""
        self.interrupt(Cancelled("the run was cancelled: start it again"))
        if not self.wait(GRACE_SECONDS + END_SECONDS):
            _log.error("a run against %s does not end", self.instance_id)

    def interrupt(self, reason: EngineError) -> None:
        """End the processes without waiting for them; the client receives the first ``reason``."""
        self._cancellation.cancel(reason)
        self._queue.unblock()
        self._begin()  # a run that was never started has processes to end, too

    def wait(self, seconds: float) -> bool:
        """Wait for the end of a run that was started or interrupted; return whether it ended."""
        if self._thread is None:
            return False
        self._thread.join(max(seconds, 0))
        return not self._thread.is_alive()

    def _begin(self) -> None:
        with self._starting:
            if self._thread is None:
                # A daemon: a process that the kernel does not let die must not keep the engine.
                name = f"run-{self.instance_id[:12]}"
                self._thread = threading.Thread(target=self._work, name=name, daemon=True)
                self._thread.start()

    def _work(self) -> None:
        try:
            ending = self._outcome()
            for note in self._call(self._settle, self._cancellation.ended) or ():
                self._put("log", size=len(note), message=note)
            self._put(**ending)
            self._call(self._on_end, self)
        finally:
            self._queue.close()

    def _call(self, hook: Callable[[T], R], argument: T) -> R | None:
        try:
            return hook(argument)
        except Exception:
            # The thread goes on to close the stream.
            _log.exception("a run against %s was not ended properly", self.instance_id)
            return None

    def _outcome(self) -> Event:
        """Run everything and return the last event without its time."""
        try:
            code = self._run_all()
        except EngineError as error:
            return _error_event(error)
        except Exception:
            # The top of a thread, for which a client waits.
            _log.exception("a run against %s broke", self.instance_id)
            return _error_event(EngineError(ENGINE_FAILED))
        # As in a shell.
        return {"kind": "exit", "exit_code": code if code >= 0 else 128 - code}

    def _run_all(self) -> int:
        while True:
            code = self._program.follow(
                {name: Text(partial(self._put_text, name)) for name in _STREAMS},
                self._cancellation,
                signals=_SIGNALS,
            )
            self._cancellation.check()
            if code != 0 or not self._waiting:
                return code
            self._program = Program(self._waiting.popleft()())

    def _put_text(self, stream: Stream, text: str) -> None:
        if self._cancellation.ended:
            return  # no client reads it any more
        for start in range(0, len(text), _CHUNK_CHARS):
            data = text[start : start + _CHUNK_CHARS]
            self._put(stream, size=len(data) if data.isascii() else 4 * len(data), data=data)

    def _put(self, kind: str, size: int = 0, **fields: Any) -> None:
        self._queue.put({"type": kind, "ts": self._clock(), **fields}, size)


_STREAMS: tuple[Stream, ...] = ("stdout", "stderr")


def _error_event(error: EngineError) -> Event:
    return {"kind": "error", "error": error.as_dict(), "message": str(error)}
