"""The remains of a killed server: processes, shared memory, its pid and socket files.

Those files would stop the next start if their pid has passed to another process.
"""

import os
import secrets
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.processes.identity import kill_working_in

from .postmaster import KILL_SECONDS, pid_file, read_pid_file
from .shared_memory import release


def clear_remains(data_dir: Path, container: Path) -> None:
    """Remove what the dead server of ``data_dir`` left, if anything.

    A directory in the pid file's place is moved to ``container``. Raises ClusterFailed when a
    process does not end.
    """
    stale = pid_file(data_dir)
    if not os.path.lexists(stale):
        return
    if stale.is_dir() and not stale.is_symlink():
        # No server created it, and it may be in use elsewhere: it is kept.
        stale.rename(container / f"{stale.name}.{secrets.token_hex(4)}")
        return
    found = read_pid_file(data_dir)
    try:
        kill_working_in(data_dir, KILL_SECONDS)
    except TimeoutError as error:
        raise ClusterFailed(
            "a process of a killed server still runs: try again in a moment", str(error)
        ) from error
    if found is not None and found.segment is not None:
        release(data_dir, found.segment)
    for path in data_dir.glob(".s.PGSQL.*"):
        path.unlink(missing_ok=True)
    stale.unlink(missing_ok=True)
