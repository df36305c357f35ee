"""A command at a terminal of its own, at which questions are answered."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.waiting import PATIENCE


def answered(
    command: Sequence[str], environ: Mapping[str, str], cwd: Path, question: str, answer: str
) -> tuple[int, str, str]:
    """Run a command, and type ``answer`` once it has printed ``question``.

    Returns its exit code, its standard output, which is no terminal, and what the terminal showed.
    """
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            command,
            env={**environ, "TERM": "dumb"},
            cwd=cwd,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        ) as process:
            os.close(theirs)
            shown = _read(ours, question)
            if question in shown:
                os.write(ours, answer.encode())
            shown += _read(ours, None)
            output, _ = process.communicate(timeout=PATIENCE)
            return process.returncode, output, shown
    finally:
        os.close(ours)


def _read(terminal: int, until: str | None) -> str:
    """Return what is printed, up to a text or to the end."""
    shown = b""
    deadline = time.monotonic() + PATIENCE
    while until is None or until.encode() not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise AssertionError(f"still running after {PATIENCE} s: {shown!r}")
        try:
            more = os.read(terminal, 4096)
        except OSError:  # the last process that had the terminal open has ended
            break
        if not more:
            break
        shown += more
    return shown.decode(errors="replace")
