"""One run of psql against a cluster that is being built: its output, its end, its error."""

import contextlib
import os
import re
import select
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from ..errors import StepFailed, StorageFull
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
_DISK_FULL = "No space left on device"


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
    """What psql is to do: its arguments, its working directory, its standard input."""

    arguments: Sequence[str]
    directory: Path | None
    stdin: str | None


def run(cluster: Client, script: Script, control: Control, on_line: OnLine) -> None:
    """Run psql to its end; ``on_line`` gets each line it prints, at once.

    Raises StepFailed with file, line and SQL error, StorageFull when the server had no
    room left, and what ``control.check`` raises when the job is ended meanwhile: psql's
    whole process group is gone by then.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def heard(line: str) -> None:
        tail.append(line)
        on_line(line)

    with _standard_input(script.stdin) as stdin:
        process = cluster.client(
            "psql",
            script.arguments,
            port=None,
            cwd=script.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    with control.calling(lambda: _interrupt(process)):
        try:
            _read_lines(process, heard)
        finally:
            _end_group(process)
    control.check()
    if process.returncode != 0:
        raise _failure(process.returncode, list(tail))


def _read_lines(process: "subprocess.Popen[bytes]", on_line: OnLine) -> None:
    """Pass on lines until psql has ended and its output is read.

    A program that psql started may hold the pipe open for ever, so it is not read to its
    end at all costs.
    """
    assert process.stdout is not None  # noqa: S101 - it was asked for
    pipe = process.stdout.fileno()
    rest = b""
    exited = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        poll.register(exited, select.POLLIN)
        patience: float | None = None
        while ready := dict(poll.poll(patience)):
            if pipe in ready:
                chunk = os.read(pipe, _CHUNK)
                if not chunk:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    on_line(_text(line))
                if len(rest) > _LONGEST_LINE:
                    on_line(_text(rest))
                    rest = b""
            elif exited in ready:
                poll.unregister(exited)
                patience = _GRACE_SECONDS * 1000
    finally:
        os.close(exited)
    if rest:
        on_line(_text(rest))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """Let psql cancel its query, and make sure in the background that it ends."""
    _signal_group(process, signal.SIGINT)
    threading.Thread(target=_end_group, args=(process,), name="psql-end", daemon=True).start()


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    """Wait a moment for psql, then end its whole process group."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    if process.returncode is None:
        _signal_group(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    # Also when psql has ended: what it started in the background has not.
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    # psql leads the group, whose id stays taken while any of it lives.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _standard_input(text: str | None) -> Iterator[IO[bytes] | None]:
    """Yield an anonymous file with the text, None without any."""
    if text is None:
        yield None
        return
    with os.fdopen(os.memfd_create("sqlrs-stdin", os.MFD_CLOEXEC), "w+b") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
        file.seek(0)
        yield file


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
    if _DISK_FULL in details:
        return StorageFull("the disk became full while psql ran: make room", details)
    return StepFailed("psql execution failed", details)
