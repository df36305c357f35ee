"""One run of psql against a cluster that is being built: its output, its end, its error."""

import contextlib
import re
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, OnLine
from sqlrs_engine.processes.program import Program, input_file

if TYPE_CHECKING:
    from sqlrs_engine.postgres.cluster import Cluster

_TAIL_LINES = 40
_TAIL_CHARS = 8 * 1024

_LOCATED = re.compile(
    r"^psql:(?P<file>.+):(?P<line>\d+): (?P<error>(?:ERROR|FATAL|PANIC|error):.*)"
)
_PLAIN = re.compile(r"^(?:psql: )?(?:ERROR|FATAL|PANIC|error):.*")


@dataclass(frozen=True, slots=True)
class Script:
    """What psql is to do: its arguments, its working directory, its standard input.

    ``home`` is its ``$HOME``, None for that of the engine's user. ``told`` turns a
    line it prints into what users get to read.
    """

    arguments: Sequence[str]
    directory: Path | None
    stdin: str | None
    home: str | None = None
    told: Callable[[str], str] = str


def run(cluster: "Cluster", script: Script, control: Cancellation, on_line: OnLine) -> None:
    """Run psql to its end; ``on_line`` gets each line it prints, at once.

    Raises StepFailed with file, line and SQL error, and what ``control.check`` raises when
    the job is ended meanwhile: psql's whole process group is gone by then.
    """
    tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def heard(line: str) -> None:
        line = script.told(line)
        tail.append(line)
        on_line(line)

    with contextlib.ExitStack() as cleanup:
        stdin = None
        if script.stdin is not None:
            stdin = cleanup.enter_context(input_file(script.stdin))
        process = cluster.client(
            "psql",
            script.arguments,
            port=None,
            cwd=script.directory,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            environment={} if script.home is None else {"HOME": script.home},
        )
    code = Program(process).follow({"stdout": Lines(heard)}, control)
    control.check()
    if code != 0:
        raise _failure(code, list(tail))


def _last_error(tail: list[str]) -> int | None:
    """Return where the error begins that ended psql: it may have gone on after others.

    A lost connection is several errors of one line, of which the first says why.
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
    """Return the error for what psql said last."""
    position = _last_error(tail)
    if position is None:
        details = "\n".join([f"psql ended with code {code}", *tail])
    else:
        located = _LOCATED.match(tail[position])
        headline = tail[position].removeprefix("psql:") if located else tail[position]
        details = "\n".join([headline, *tail[position + 1 :]])
    details = details[:_TAIL_CHARS]
    return StepFailed("psql execution failed", details)
