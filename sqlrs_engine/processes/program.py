"""A program that the engine runs: its output, its end, and the end of all that it started.

A program leads its own process group: start it with ``start_new_session=True``. Its end is the end
of the group. A process that leaves the group, as a daemon does, escapes: it cannot keep the engine
waiting, although it may hold the program's pipes open.
"""

import contextlib
import math
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Literal

from .cancellation import Cancellation
from .identity import wait_exit
from .output import Output

Popen = subprocess.Popen[bytes]
Stream = Literal["stdout", "stderr"]

LEFTOVER_SECONDS = 1.0
"""How long processes that a program left behind may still print."""
GRACE_SECONDS = 0.5
"""How long a program has to obey a signal before the next one."""

# At SIGINT psql cancels its query.
POLITELY = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)

_READ_BYTES = 64 * 1024
_PIPE_BYTES = 64 * 1024  # what a pipe holds
_SLICE_CHARS = 1024 * 1024


class Program:
    """A running program and its pipes; used by one thread at a time.

    The process is not reaped before ``close``, so neither its id nor its group's can pass to
    another process meanwhile.
    """

    def __init__(self, process: Popen) -> None:
        """Adopt a process just started, the leader of a process group.

        Raises OSError when there are too many open files; the process is gone then.
        """
        self._process = process
        try:
            self._pidfd = os.pidfd_open(process.pid)
        except OSError:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        self._closed = False

    @property
    def running(self) -> bool:
        """Whether the program is running."""
        return not self._closed and not wait_exit(self._pidfd, 0)

    def write(self, data: bytes) -> None:
        """Write to the standard input, a pipe; a program that has ended reads nothing."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe, says the docstring
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def follow(
        self,
        outputs: Mapping[Stream, Output],
        cancellation: Cancellation,
        *,
        signals: Sequence[signal.Signals] = POLITELY,
    ) -> int:
        """Pass the output on until the program has ended, and close it; see ``read``.

        Returns the exit code; of a program that signal n ended, -n.
        """
        self.read(outputs, cancellation, signals=signals)
        return self.close()

    def read(
        self,
        outputs: Mapping[Stream, Output],
        cancellation: Cancellation,
        *,
        until: Callable[[], bool] = lambda: False,
        signals: Sequence[signal.Signals] = POLITELY,
    ) -> None:
        """Pass the output on until ``until`` holds or the program has ended.

        ``outputs`` has an entry for each pipe. When ``cancellation`` ends the work, the group
        gets ``signals``, one every ``GRACE_SECONDS``, and SIGKILL from then on; ``check``
        raises nothing here. When the program ends, processes that it left behind have
        ``LEFTOVER_SECONDS`` to close its pipes, none if it was cancelled; then they are
        killed, and what is in the pipes by then is still passed on. Whatever ``outputs``
        raise closes the program.
        """
        try:
            with selectors.DefaultSelector() as selector, _wakeup(cancellation) as woken:
                for pipe, output in self._open_pipes(outputs):
                    selector.register(pipe, selectors.EVENT_READ, output)
                selector.register(self._pidfd, selectors.EVENT_READ)
                selector.register(woken, selectors.EVENT_READ)
                self._read_until(selector, woken, until, signals)
                if until():
                    return
                self._signal(signal.SIGKILL)
                _drain(selector)
            for output in outputs.values():
                output.end()
        except BaseException:
            self.close()
            raise

    def close(self) -> int:
        """Kill the program and its group, and return the exit code; -n after signal n."""
        if not self._closed:
            self._signal(signal.SIGKILL)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()
            self._process.wait()
            self._closed = True
            os.close(self._pidfd)
        return self._process.returncode

    def _open_pipes(self, outputs: Mapping[Stream, Output]) -> Iterator[tuple[IO[bytes], Output]]:
        pipes: tuple[tuple[IO[bytes] | None, Stream], ...] = (
            (self._process.stdout, "stdout"),
            (self._process.stderr, "stderr"),
        )
        for pipe, name in pipes:
            if pipe is not None:
                yield pipe, outputs[name]

    def _read_until(
        self,
        selector: selectors.BaseSelector,
        woken: int,
        until: Callable[[], bool],
        signals: Sequence[signal.Signals],
    ) -> None:
        """Read until ``until`` holds, all pipes are closed, or the time for that is over."""
        remaining = iter(signals)
        cancelled, ended, deadline = False, False, math.inf
        while not until() and not (ended and not _has_pipes(selector)):
            for key, _ in selector.select(_seconds_until(deadline)):
                if key.data is not None:
                    _read_once(selector, key)
                    continue
                selector.unregister(key.fileobj)
                cancelled = cancelled or key.fd == woken
                ended = ended or key.fd == self._pidfd
                patience = LEFTOVER_SECONDS if ended and not cancelled else 0
                deadline = time.monotonic() + patience
            if time.monotonic() >= deadline:
                if ended:
                    return
                self._signal(next(remaining, signal.SIGKILL))
                deadline = time.monotonic() + GRACE_SECONDS

    def _signal(self, number: signal.Signals) -> None:
        # The group may be gone, or its processes another user's (those of sudo, say).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def input_file(text: str) -> IO[bytes]:
    """Return an anonymous file for a program's standard input: ``text`` in UTF-8."""
    file = os.fdopen(os.memfd_create("sqlrs-stdin", os.MFD_CLOEXEC), "w+b")
    for start in range(0, len(text), _SLICE_CHARS):
        # Lone surrogates stand for bytes that are not UTF-8.
        file.write(text[start : start + _SLICE_CHARS].encode("utf-8", "surrogateescape"))
    file.seek(0)
    return file


@contextlib.contextmanager
def _wakeup(cancellation: Cancellation) -> Iterator[int]:
    """Yield a descriptor that becomes readable when the work is to end."""
    woken = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with cancellation.calling(lambda: os.eventfd_write(woken, 1)):
            yield woken
    finally:
        os.close(woken)


def _seconds_until(deadline: float) -> float | None:
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic())


def _has_pipes(selector: selectors.BaseSelector) -> bool:
    return any(key.data is not None for key in selector.get_map().values())


def _read_once(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> int:
    """Read a pipe that is readable or closed; return the number of bytes."""
    chunk = os.read(key.fd, _READ_BYTES)
    if chunk:
        key.data.add(chunk)
    else:
        selector.unregister(key.fileobj)
    return len(chunk)


def _drain(selector: selectors.BaseSelector) -> None:
    """Read the rest of pipes that a process outside the group may still hold open."""
    unread = {key.fd: _PIPE_BYTES for key in selector.get_map().values()}
    while ready := [key for key, _ in selector.select(0) if key.data and unread[key.fd] > 0]:
        for key in ready:
            unread[key.fd] -= _read_once(selector, key)
