"""A program that a step runs: its output by lines, its end, and the end of what it started."""

import contextlib
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable

from sqlrs_engine.processes.cancellation import Cancellation

OnLine = Callable[[str], None]

_CHUNK = 64 * 1024
_LONGEST_LINE = 1024 * 1024  # bytes; a longer one is passed on in pieces
_GRACE_SECONDS = 1.0


def follow(process: "subprocess.Popen[bytes]", control: Cancellation, on_line: OnLine) -> None:
    """Pass on the lines of a program until it has ended and its output is read.

    It leads a process group of its own. A program that it started may hold the pipe open for
    ever, so after the end it is read for a moment only; and nothing of the group lives on. When
    ``control`` ends the job, it is interrupted, then terminated, then killed. The program
    itself is not reaped here: until then no other process can have its id.
    """
    assert process.stdout is not None  # noqa: S101 - it was asked for
    pipe, exited = process.stdout.fileno(), os.pidfd_open(process.pid)
    woken = os.eventfd(0, os.EFD_CLOEXEC)
    # SIGINT makes psql cancel its query; the others are for what that does not end.
    signals = iter((signal.SIGINT, signal.SIGTERM, signal.SIGKILL))
    lines = Lines(on_line)
    poll = select.poll()
    for descriptor in (pipe, exited, woken):
        poll.register(descriptor, select.POLLIN)
    open_for_reading, ended, deadline = True, False, math.inf
    try:
        with control.calling(lambda: os.eventfd_write(woken, 1)):
            while open_for_reading or not ended:
                ready = {each for each, _ in poll.poll(_milliseconds_until(deadline))}
                if woken in ready:
                    poll.unregister(woken)
                    deadline = time.monotonic()
                if pipe in ready:
                    chunk = os.read(pipe, _CHUNK)
                    lines.add(chunk)
                    if not chunk:
                        poll.unregister(pipe)
                        open_for_reading = False
                if exited in ready:
                    poll.unregister(exited)
                    ended, deadline = True, time.monotonic() + _GRACE_SECONDS
                if time.monotonic() >= deadline:
                    if ended:
                        break
                    _signal_group(process, next(signals, signal.SIGKILL))
                    deadline = time.monotonic() + _GRACE_SECONDS
    finally:
        _signal_group(process, signal.SIGKILL)
        os.close(exited)
        os.close(woken)
    lines.end()


def _milliseconds_until(deadline: float) -> float | None:
    return None if deadline == math.inf else max(0.0, deadline - time.monotonic()) * 1000


class Lines:
    """Puts the chunks of a pipe together to lines."""

    def __init__(self, on_line: OnLine, *, longest: int = _LONGEST_LINE) -> None:
        """``longest`` is how many bytes a line may have before it is passed on in pieces."""
        self._on_line = on_line
        self._longest = longest
        self._rest = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take the next bytes; pass on the lines that are complete."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._rest += line
            self._on_line(_text(bytes(self._rest)))
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > self._longest:
            # Not within a character: where one begins, there is a byte other than 10xxxxxx.
            cut = max(len(self._rest) - 4, 0)
            while cut < len(self._rest) and self._rest[cut] & 0xC0 == 0x80:
                cut += 1
            kept = self._rest[cut:]
            del self._rest[cut:]
            self.end()
            self._rest = kept

    def end(self) -> None:
        """Pass on what is left without a line's end."""
        if self._rest:
            self._on_line(_text(bytes(self._rest)))
            self._rest.clear()


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
