"""The server process of a data directory, as its ``postmaster.pid`` tells."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.processes.identity import start_ticks, works_in

DEFAULT_PORT = 5432
"""Names the socket of a server that does not listen on TCP."""

_PID_LINE, _PORT_LINE, _SEGMENT_LINE, _STATUS_LINE = 0, 3, 6, 7


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A live server: its process, named beyond doubt, its port, whether it is about to end."""

    pid: int
    start_ticks: int
    port: int
    stopping: bool = False

    @property
    def runtime_id(self) -> str:
        """``<pid>.<start time in clock ticks>``: unique until the machine reboots."""
        return f"{self.pid}.{self.start_ticks}"


@dataclass(frozen=True, slots=True)
class PidFile:
    """What a server wrote about itself; it may be long dead.

    ``segment`` is the id of its System V shared memory.
    """

    pid: int
    port: int
    ready: bool
    segment: int | None = None
    stopping: bool = False


def pid_file(data_dir: Path) -> Path:
    """Return where a data directory's server leaves its pid."""
    return data_dir / "postmaster.pid"


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Return what the server wrote, None when there is no file or not a whole one yet."""
    try:
        # The directory belongs to the database's superuser: follow no link, wait on no pipe.
        descriptor = os.open(pid_file(data_dir), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        lines = os.read(descriptor, 4096).decode("utf-8", "replace").split("\n")
    finally:
        os.close(descriptor)
    rest = [*lines, *[""] * (_STATUS_LINE + 1)]
    try:
        return PidFile(
            pid=int(lines[_PID_LINE]),
            port=int(lines[_PORT_LINE]),
            ready=rest[_STATUS_LINE].strip() == "ready",
            segment=_segment(rest[_SEGMENT_LINE]),
            stopping=rest[_STATUS_LINE].strip() == "stopping",
        )
    except (IndexError, ValueError):
        return None


def _segment(line: str) -> int | None:
    """Return the id in a line of a key and an id."""
    _, _, number = line.strip().partition(" ")
    return int(number) if number.strip().isdecimal() else None


def find_postmaster(data_dir: Path) -> Postmaster | None:
    """Return the live server of a data directory, be it this process's child or not.

    It must work in that directory: a pid that passed to another process is not taken.
    """
    found = read_pid_file(data_dir)
    if found is None or found.pid <= 0:
        return None
    ticks = start_ticks(found.pid)
    if ticks is None or not works_in(found.pid, data_dir):
        return None
    return Postmaster(found.pid, ticks, found.port, found.stopping)
