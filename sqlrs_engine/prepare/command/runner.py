"""Runs of commands: the process, its output, its end, and the end of what it left behind."""

import errno
import shlex
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import ProgramUnavailable, StepFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.leftovers import kill_leftovers, mark
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.processes.program import Popen, Program

HIDDEN = "***"
_TAIL_LINES = 40
_TAIL_CHARS = 8 * 1024
_KILL_SECONDS = 10.0
_ADVICE = {
    errno.ENOEXEC: "begin a script with the line of its interpreter, such as #!/bin/sh",
    errno.ENOENT: "work_dir, or the interpreter in the first line of the script, does not exist",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A call of a program: ``path`` is where it is, ``secret`` what its output must not show."""

    argv: tuple[str, ...]
    path: Path
    work_dir: Path
    environment: Mapping[str, str]
    secret: str


def run_command(
    invocation: Invocation, workspace: Path, cancellation: Cancellation, on_line: OnLine
) -> None:
    """Run a program to its end; pass each line that it prints to ``on_line`` at once.

    Its standard input is empty, and it has no terminal. ``workspace`` is the directory on whose
    behalf it runs: all processes that it started have ended when this returns. Raises StepFailed
    with the last lines, ProgramUnavailable, and what ``cancellation.check`` does.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def on_output(line: str) -> None:
        line = line.replace(invocation.secret, HIDDEN)
        tail.append(line)
        on_line(line)

    environment = {**invocation.environment, **mark(workspace)}
    process = start(
        invocation.argv,
        invocation.path,
        invocation.work_dir,
        environment,
        stderr=subprocess.STDOUT,
    )
    try:
        code = Program(process).follow({"stdout": Lines(on_output)}, cancellation)
    finally:
        _end_leftovers(workspace)
    cancellation.check()
    if code != 0:
        details = "\n".join([f"{shlex.join(invocation.argv)} {_ending(code)}", *_last(tail)])
        raise StepFailed("the command failed: correct what its last lines name", details)


def start(
    argv: Sequence[str],
    path: Path,
    work_dir: Path,
    environment: Mapping[str, str],
    *,
    stderr: int,
) -> Popen:
    """Start a program, which sees exactly ``environment``; its output is a pipe.

    It leads its own session and process group. Raises ProgramUnavailable.
    """
    try:
        return subprocess.Popen(
            argv,
            executable=path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=work_dir,
            env=dict(environment),
            start_new_session=True,
        )
    except OSError as error:
        reason = f"{path}: {error.strerror}"
        advice = _ADVICE.get(error.errno or 0)
        raise ProgramUnavailable(
            "the program of the command does not run: correct what the details name",
            f"{reason}: {advice}" if advice else reason,
        ) from error


def _end_leftovers(workspace: Path) -> None:
    try:
        kill_leftovers(workspace, _KILL_SECONDS)
    except TimeoutError as error:
        raise StepFailed(
            "a process that the command left behind does not end: end it, then prepare again",
            str(error),
        ) from error


def _ending(code: int) -> str:
    if code > 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"


def _last(tail: deque[str]) -> list[str]:
    """Return the last lines, as many as an error has room for."""
    kept: deque[str] = deque()
    room = _TAIL_CHARS
    for line in reversed(tail):
        if len(line) >= room:
            break
        room -= len(line) + 1
        kept.appendleft(line)
    return list(kept) or [line[-_TAIL_CHARS:] for line in [*tail][-1:]]
