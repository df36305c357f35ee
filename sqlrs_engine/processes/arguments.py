"""The arguments of this process, which every user of the machine can read (``ps``)."""

import ctypes
import os
from pathlib import Path

# Fields of /proc/<pid>/stat after the name of the program, from 0 (proc_pid_stat(5), 48 and 49).
_START, _END = 45, 46


def hide(argument: str) -> None:
    """Overwrite an argument of this process, wherever it has been given; best effort."""
    wanted = os.fsencode(argument)
    if not wanted:
        return
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[_START]), int(fields[_END])
        written = Path("/proc/self/cmdline").read_bytes()
    except (OSError, ValueError, IndexError):
        return
    if end - start != len(written):
        return
    position = 0
    for each in written.split(b"\0"):
        if each == wanted or each.endswith(b"=" + wanted):
            at = start + position + len(each) - len(wanted)
            ctypes.memset(at, ord("*"), len(wanted))
        position += len(each) + 1
