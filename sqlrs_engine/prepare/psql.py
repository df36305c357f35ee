"""One run of psql against a cluster that is being built: its output, its end, its error."""

import contextlib
import math
import os
import re
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from ..errors import StepFailed, StorageFull
from ..postgres.text_file import text_file
from .control import Control

OnLine = Callable[[str], None]

_CHUNK = 64 * 1024
_LONGEST_LINE = 1024 * 1024  # bytes; a longer one is passed on in pieces
_TAIL_LINES = 40
_TAIL_CHARS = 8 * 1024
_GRACE_SECONDS = 1.0

_LOCATED = re.compile(
    r"^psql:(?P<file>.+):(?P<line>\d+): (?P<error>(?:ERROR|FATAL|PANIC|error):.*)"
)
_PLAIN = re.compile(r"^(?:psql: )?(?:ERROR|FATAL|PANIC|error):.*")
DISK_FULL = "No space left on device"


class Client(Protocol):
    """Starts client programs on a cluster."""

    def client(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        port: int | None,
        cwd: Path | None,
        stdin: "int | IO[bytes] | None",
        stdout: "int | IO[bytes] | None",
        stderr: "int | IO[bytes] | None",
    ) -> "subprocess.Popen[bytes]":
        """Start one in a process group of its own."""


@dataclass(frozen=True, slots=True)
class Script:
    """What psql is to do: its arguments, its working directory, its standard input.

    ``told`` turns a line it prints into what users get to read.
    """

    arguments: Sequence[str]
    directory: Path | None
    stdin: str | None
    told: Callable[[str], str] = str


def run(cluster: Client, script: Script, control: Control, on_line: OnLine) -> None:
    """Run psql to its end; ``on_line`` gets each line it prints, at once.

    Raises StepFailed with file, line and SQL error, StorageFull when the server had no
    room left, and what ``control.check`` raises when the job is ended meanwhile: psql's
    whole process group is gone by then.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def heard(line: str) -> None:
        line = script.told(line)
        tail.append(line)
        on_line(line)

    with contextlib.ExitStack() as cleanup:
        stdin = None
        if script.stdin is not None:
            stdin = cleanup.enter_context(text_file(script.stdin))
        process = cluster.client(
            "psql",
            script.arguments,
            port=None,
            cwd=script.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    with process:
        _follow(process, control, heard)
    control.check()
    if process.returncode != 0:
        raise _failure(process.returncode, list(tail))


def _follow(process: "subprocess.Popen[bytes]", control: Control, on_line: OnLine) -> None:
    """Pass on lines until psql has ended and its output is read.

    A program that psql started may hold the pipe open for ever, so after the end it is
    read for a moment only; and nothing of psql's process group lives on. psql itself is
    not reaped here: until then no other process can have its id.
    """
    assert process.stdout is not None  # noqa: S101 - it was asked for
    pipe, exited = process.stdout.fileno(), os.pidfd_open(process.pid)
    woken = os.eventfd(0, os.EFD_CLOEXEC)
    # SIGINT makes psql cancel its query; the others are for when that does not help.
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

    def __init__(self, on_line: OnLine) -> None:
        self._on_line = on_line
        self._rest = b""

    def add(self, chunk: bytes) -> None:
        """Take the next bytes; pass on the lines that are complete."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._on_line(_text(line))
        if len(self._rest) > _LONGEST_LINE:
            # Not within a character: where one begins, there is a byte other than 10xxxxxx.
            cut = max(len(self._rest) - 4, 0)
            while cut < len(self._rest) and self._rest[cut] & 0xC0 == 0x80:
                cut += 1
            rest, self._rest = self._rest[cut:], self._rest[:cut]
            self.end()
            self._rest = rest

    def end(self) -> None:
        """Pass on what is left without a line's end."""
        if self._rest:
            self._on_line(_text(self._rest))
            self._rest = b""


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _failure(code: int, tail: list[str]) -> StepFailed | StorageFull:
    """Return the error for what psql said last."""
    for position, line in enumerate(tail):
        located = _LOCATED.match(line)
        if located:
            headline = f"{located['file']}:{located['line']}: {located['error']}"
            details = "\n".join([headline, *tail[position + 1 :]])
            break
        if _PLAIN.match(line):
            details = "\n".join(tail[position:])
            break
    else:
        details = "\n".join([f"psql ended with code {code}", *tail])
    details = details[:_TAIL_CHARS]
    if DISK_FULL in details:
        return StorageFull("the disk became full while psql ran: make room", details)
    return StepFailed("psql execution failed", details)
