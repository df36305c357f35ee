"""A run in progress: one or more processes whose output is read as it comes.

A thread reads the processes' pipes and hands events to whoever streams them. It stays
at most ``BUFFER_BYTES`` ahead: a reader that stalls stalls the process, not the memory.
"""

import codecs
import logging
import os
import selectors
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from ..clock import Clock, utc_now
from ..errors import EngineError

Event = dict[str, Any]
Launch = Callable[[], "subprocess.Popen[bytes]"]

BUFFER_BYTES = 256 * 1024
# A character takes at most 6 bytes in JSON (\u0000): a line stays below 49 KiB, and
# clients that read lines of at most 64 KiB can read it.
_CHUNK_CHARS = 8 * 1024
_READ_BYTES = 32 * 1024
_GRACE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Run:
    """Processes run one after another against an instance; the first failure ends it.

    The first process is started by the constructor, so that a program which cannot
    start is an error of the request. Call ``start`` to begin reading.

    Raises what the first ``launch`` raises.
    """

    def __init__(
        self,
        instance_id: str,
        launches: Sequence[Launch],
        *,
        notes: Sequence[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        self.instance_id = instance_id
        self._clock = clock
        self._waiting = deque(launches)
        self._process = self._waiting.popleft()()
        self._lock = threading.Condition()
        self._events: deque[tuple[int, Event]] = deque()
        self._buffered = 0
        self._cancelled = False
        self._finished = False
        self._on_event: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._pump, name=f"run-{instance_id[:12]}")
        for note in notes:
            self._put("log", size=len(note), message=note)
        self._put("start", instance_id=instance_id)

    def start(self, on_event: Callable[[], None]) -> None:
        """Begin reading; ``on_event`` is called, from a thread, when there is something."""
        self._on_event = on_event
        self._thread.start()

    def take(self) -> list[Event]:
        """Return the events that have come since the last call and make room for more."""
        with self._lock:
            events = [event for _, event in self._events]
            self._events.clear()
            self._buffered = 0
            self._lock.notify_all()
        return events

    @property
    def finished(self) -> bool:
        """Whether the last event has been taken."""
        with self._lock:
            return self._finished and not self._events

    def cancel(self) -> None:
        """End the process group and wait for it; harmless when the run is over.

        SIGINT makes psql cancel its query; the server ends what is left over by
        itself, for it checks that its client is still there
        (``client_connection_check_interval``).
        """
        with self._lock:
            self._cancelled = True
            process = self._process
            self._lock.notify_all()
        _end_group(process)
        if self._thread.ident is not None:
            self._thread.join()

    def _pump(self) -> None:
        try:
            code = self._run_all()
            self._put("exit", exit_code=code)
        except EngineError as error:
            self._put("error", error=error.as_dict(), message=str(error))
        except Exception:
            _log.exception("run against %s broke", self.instance_id)
            self._put("error", message="the run broke; the engine's log says why")
        finally:
            with self._lock:
                self._finished = True
            self._on_event()

    def _run_all(self) -> int:
        while True:
            with self._process as process:
                self._read(process)
                code = process.wait()
            with self._lock:
                if code != 0 or not self._waiting or self._cancelled:
                    # A process ended by a signal reports 128 + n, as a shell does.
                    return code if code >= 0 else 128 - code
                self._process = self._waiting.popleft()()

    def _read(self, process: "subprocess.Popen[bytes]") -> None:
        with selectors.DefaultSelector() as selector:
            for pipe, kind in ((process.stdout, "stdout"), (process.stderr, "stderr")):
                if pipe is not None:
                    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
                    selector.register(pipe, selectors.EVENT_READ, (kind, decoder))
            while selector.get_map():
                for key, _ in selector.select():
                    kind, decoder = key.data
                    chunk = os.read(key.fd, _READ_BYTES)
                    self._put_text(kind, decoder.decode(chunk, final=not chunk))
                    if not chunk:
                        selector.unregister(key.fileobj)

    def _put_text(self, kind: str, text: str) -> None:
        for start in range(0, len(text), _CHUNK_CHARS):
            data = text[start : start + _CHUNK_CHARS]
            self._put(kind, size=len(data), data=data)

    def _put(self, kind: str, size: int = 0, **fields: Any) -> None:
        event = {"type": kind, "ts": self._clock(), **fields}
        with self._lock:
            while self._buffered > BUFFER_BYTES and not self._cancelled:
                self._lock.wait()
            if self._cancelled and kind in ("stdout", "stderr"):
                return  # nobody reads it any more
            self._events.append((size, event))
            self._buffered += size
        self._on_event()


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(_GRACE_SECONDS / 4)
        except subprocess.TimeoutExpired:
            continue


def text_file(text: str) -> IO[bytes]:
    """Return an anonymous file holding ``text``, to be a process's standard input."""
    file = os.fdopen(os.memfd_create("sqlrs-stdin", os.MFD_CLOEXEC), "w+b")
    file.write(text.encode())
    file.seek(0)
    return file


def events(run: Run) -> Iterator[Event]:
    """Yield a run's events, waiting for each; for callers that have a thread to spare."""
    ready = threading.Event()
    run.start(ready.set)
    while not run.finished:
        ready.wait()
        ready.clear()
        yield from run.take()
