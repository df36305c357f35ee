"""Processes by identity: a pid alone may have passed to another process.

Linux only: ``/proc`` and pidfds.
"""

import contextlib
import ctypes
import os
import select
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_PROC = Path("/proc")


def start_ticks(pid: int) -> int | None:
    """Return when a live process started, in clock ticks since boot.

    None when there is no such process or it has ended already (a zombie).
    """
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, in parentheses, may itself hold blanks and parentheses.
    state, *fields = text[text.rindex(b")") + 2 :].split()
    return None if state in (b"Z", b"X") else int(fields[18])


def works_in(pid: int, directory: Path) -> bool:
    """Return whether ``directory`` is the working directory of a live process."""
    process = _PROC / str(pid)
    try:
        wanted = directory.stat()
        try:
            found = (process / "cwd").stat()
        except PermissionError:
            if os.geteuid() != 0:
                return False
            # Root in a container usually lacks CAP_SYS_PTRACE, but it can become the owner.
            owner = process.stat()
            with _filesystem_user(owner.st_uid, owner.st_gid):
                found = (process / "cwd").stat()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    return os.path.samestat(found, wanted)


@contextlib.contextmanager
def _filesystem_user(uid: int, gid: int) -> Iterator[None]:
    """Let this thread, and no other, access files and ``/proc`` as another user (setfsuid(2))."""
    libc = ctypes.CDLL(None)
    before = (libc.setfsuid(-1), libc.setfsgid(-1))  # -1 is no user: it changes nothing
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(before[0])
        libc.setfsgid(before[1])


def working_in(directory: Path) -> list[int]:
    """Return the processes whose working directory is ``directory``.

    Servers and everything they start work in their data directory.
    """
    pids = (int(entry.name) for entry in os.scandir(_PROC) if entry.name.isdigit())
    return [pid for pid in pids if works_in(pid, directory)]


@contextlib.contextmanager
def pidfd(pid: int) -> Iterator[int | None]:
    """Hold on to a process while the block runs; yields None when it is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def wait_exit(process: int, seconds: float) -> bool:
    """Wait until the process behind a pidfd has ended; return False on timeout."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(max(0, int(seconds * 1000))))


def send(process: int, number: signal.Signals) -> None:
    """Send a signal to the process behind a pidfd, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(process, number)


def kill_working_in(directory: Path, seconds: float) -> list[int]:
    """Kill every process that works in ``directory`` and wait for its end.

    Returns and raises as ``kill_each`` does.
    """
    return kill_each(working_in(directory), lambda pid: works_in(pid, directory), seconds)


def kill_each(pids: Iterable[int], is_meant: Callable[[int], bool], seconds: float) -> list[int]:
    """Kill processes and wait for the end of each; ``is_meant`` returns whether a pid is still one.

    Returns the pids killed. Raises TimeoutError when one does not end (it is blocked in the
    kernel).
    """
    killed = []
    for pid in pids:
        with pidfd(pid) as process:
            # Asked again now that the pid cannot pass to another process.
            if process is None or not is_meant(pid):
                continue
            send(process, signal.SIGKILL)
            killed.append(pid)
            if not wait_exit(process, seconds):
                raise TimeoutError(f"process {pid} does not end")
    return killed
