"""Shell scripts that stand for programs such as psql."""

import subprocess
from pathlib import Path
from typing import IO

import psutil

from support.waiting import eventually


def shell(
    script: str,
    *arguments: str,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int = subprocess.PIPE,
    cwd: Path | None = None,
) -> "subprocess.Popen[bytes]":
    """Start a script in a process group of its own, its output in pipes."""
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd=cwd,
        start_new_session=True,
    )


def pid_from(file: Path) -> int:
    """Return the pid that a script writes to a file, once it is there."""
    eventually(lambda: file.exists() and file.read_text().endswith("\n"), f"a pid in {file}")
    return int(file.read_text())


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits to be reaped only."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
