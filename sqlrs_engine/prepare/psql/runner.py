"""Runs of psql on a cluster: output, exit code and error."""

import contextlib
import re
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.processes.program import Program, input_file

_TAIL_LINES = 40
_TAIL_CHARS = 8 * 1024

_LOCATED = re.compile(
    r"^psql:(?P<file>.+):(?P<line>\d+): (?P<error>(?:ERROR|FATAL|PANIC|error):.*)"
)
_PLAIN = re.compile(r"^(?:psql: )?(?:ERROR|FATAL|PANIC|error):.*")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of psql: arguments, working directory and standard input.

    ``home`` is ``$HOME``, None for that of the engine's user. ``edit_line`` turns a line of
    psql's output into the one that users see.
    """

    arguments: Sequence[str]
    directory: Path | None
    stdin: str | None
    home: str | None = None
    edit_line: Callable[[str], str] = str


def run_psql(
    cluster: Cluster, invocation: Invocation, cancellation: Cancellation, on_line: OnLine
) -> None:
    """Run psql to its end; pass each line it prints to ``on_line`` at once.

    Raises StepFailed with file, line and SQL error, and what ``cancellation.check`` raises if the
    job is cancelled meanwhile. psql's whole process group has ended by then.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def on_output(line: str) -> None:
        line = invocation.edit_line(line)
        tail.append(line)
        on_line(line)

    with contextlib.ExitStack() as cleanup:
        stdin = None
        if invocation.stdin is not None:
            stdin = cleanup.enter_context(input_file(invocation.stdin))
        process = cluster.client(
            "psql",
            invocation.arguments,
            port=None,
            cwd=invocation.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            environment={} if invocation.home is None else {"HOME": invocation.home},
        )
    code = Program(process).follow({"stdout": Lines(on_output)}, cancellation)
    cancellation.check()
    if code != 0:
        raise _failure(code, list(tail))


def _last_error(tail: list[str]) -> int | None:
    """Return the index of the error that ended psql, which may have continued after others.

    A lost connection causes several errors at one line of the script; the first gives the reason.
    """
    places = {
        at: (match["file"], match["line"])
        for at, line in enumerate(tail)
        if (match := _LOCATED.match(line))
    }
    if places:
        runs = [list(run) for _, run in groupby(places, key=places.__getitem__)]
        return runs[-1][0]
    return next((at for at, line in enumerate(tail) if _PLAIN.match(line)), None)


def _failure(code: int, tail: list[str]) -> StepFailed:
    """Return the error for psql's last output."""
    position = _last_error(tail)
    if position is None:
        details = "\n".join([f"psql ended with code {code}", *tail])
    else:
        located = _LOCATED.match(tail[position])
        headline = tail[position].removeprefix("psql:") if located else tail[position]
        details = "\n".join([headline, *tail[position + 1 :]])
    details = details[:_TAIL_CHARS]
    return StepFailed("psql execution failed", details)
