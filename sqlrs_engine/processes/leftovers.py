"""Processes that a program left behind, found by a variable of their environment.

A daemon leaves the process group and the session that it was started in, but it keeps its
environment, unless it takes care to lose it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from .identity import kill_each

VARIABLE = "SQLRS_WORKSPACE"
"""The variable: its value is the directory on whose behalf the program runs."""

_PROC = Path("/proc")


def mark(directory: Path) -> dict[str, str]:
    """Return the variable for the environment of programs that run for ``directory``."""
    return {VARIABLE: str(directory)}


def kill_leftovers(directory: Path, seconds: float) -> list[int]:
    """Kill all processes that were started for ``directory``, and wait for their end.

    Returns their pids. Raises TimeoutError when one does not end (it is blocked in the kernel).
    """
    killed: list[int] = []
    # Again until there are none: they may have started others meanwhile.
    while found := list(_marked(directory)):
        killed += kill_each(found, lambda pid: _is_marked(pid, directory), seconds)
    return killed


def _marked(directory: Path) -> Iterator[int]:
    """Yield the live processes that were started for ``directory``."""
    pids = (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())
    yield from (pid for pid in pids if _is_marked(pid, directory))


def _is_marked(pid: int, directory: Path) -> bool:
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:  # it is gone, or another user's
        return False
    return f"{VARIABLE}={directory}".encode("utf-8", "surrogateescape") in variables.split(b"\0")
