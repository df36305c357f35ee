"""The server process of a data directory, by its ``postmaster.pid``."""

import os
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.processes.identity import send, start_ticks, wait_exit, works_in

DEFAULT_PORT = 5432
"""Names the socket of a server that does not listen on TCP."""

KILL_SECONDS = 10.0
"""How long a server may take to end after SIGQUIT, and after SIGKILL."""

_POLL_SECONDS = (0.001, 0.02)
_PID_LINE, _PORT_LINE, _SEGMENT_LINE, _STATUS_LINE = 0, 3, 6, 7


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A live server: its process, its port, and whether it is about to end.

    ``start_ticks`` distinguishes the process from a later one with the same pid.
    """

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
    """The content of a server's pid file; the server may be long dead.

    ``segment`` is the id of its System V shared memory.
    """

    pid: int
    port: int
    ready: bool
    segment: int | None = None
    stopping: bool = False


def pid_file(data_dir: Path) -> Path:
    """Return the path of a data directory's pid file."""
    return data_dir / "postmaster.pid"


def read_pid_file(data_dir: Path) -> PidFile | None:
    """Return what the server wrote, None when the file is missing or incomplete."""
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
    """Return the live server of a data directory, whether this process's child or not.

    Its working directory must be the data directory: a pid may have passed to another process.
    """
    found = read_pid_file(data_dir)
    if found is None or found.pid <= 0:
        return None
    ticks = start_ticks(found.pid)
    if ticks is None or not works_in(found.pid, data_dir):
        return None
    return Postmaster(found.pid, ticks, found.port, found.stopping)


def wait_ready(data_dir: Path, process: int, pid: int, seconds: float) -> bool:
    """Wait until the server accepts connections; return False when it ends or time is up.

    ``process`` is a pidfd of the server. The server announces readiness by a word in its pid file,
    so the file is read repeatedly; the end of the process is noticed at once.
    """
    pause, longest = _POLL_SECONDS
    begun = time.monotonic()
    while (waited := time.monotonic() - begun) < seconds:
        if waited > 50 * pause:
            pause = min(2 * pause, longest)
        if wait_exit(process, pause):
            return False
        found = read_pid_file(data_dir)
        if found is not None and found.ready and found.pid == pid:
            return True
    return False


def kill(process: int) -> None:
    """Kill the server behind a pidfd that does not stop when told to.

    At SIGQUIT it may still end its own processes; SIGKILL leaves them behind.
    """
    send(process, signal.SIGQUIT)
    if not wait_exit(process, KILL_SECONDS):
        send(process, signal.SIGKILL)
        wait_exit(process, KILL_SECONDS)
