"""Recognises builds that failed because the disk was full.

Only reports of PostgreSQL and of the filesystem count: the SQLSTATE ``disk_full``, which precedes
each message in the server's log, and ``statvfs``. The text of an error may come from a script.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.errors import DISK_FULL, ClusterFailed, StepFailed, StorageFull

LOG_PREFIX = "%m [%p] %e "
"""The ``log_line_prefix`` of servers that build: further lines of a message are indented."""

NO_SPACE = "No space left on device"
_DISK_FULL = re.compile(
    r"^\d{4}-\d\d-\d\d \S+ \S+ \[\d+\] 53100 (?:ERROR|FATAL|PANIC):", re.MULTILINE
)
_TAIL_BYTES = 256 * 1024


@contextmanager
def full_disk_reported(log: Path, exhausted: Callable[[], bool]) -> Iterator[None]:
    """Raise StorageFull when a server, or a step, finds no space on the disk in the block.

    ``log`` is the server's, ``exhausted`` returns whether the disk is full now.
    """
    try:
        yield
    except (ClusterFailed, StepFailed) as error:
        if not was_full(error, log, exhausted()):
            raise
        raise StorageFull(DISK_FULL, error.details) from error


def says_disk_full(log: str) -> bool:
    """Return whether a log with ``LOG_PREFIX`` has an error of SQLSTATE 53100."""
    return _DISK_FULL.search(log) is not None


def was_full(error: ClusterFailed | StepFailed, log: Path, exhausted: bool) -> bool:
    """Return whether a build failed for lack of space; ``exhausted`` is whether the disk is full.

    A server that has no space for its log ends without a report. The report of a program is trusted
    if the disk is full now.
    """
    details = error.details or ""
    if says_disk_full(details) or says_disk_full(_tail(log)):
        return True
    return exhausted and (isinstance(error, ClusterFailed) or NO_SPACE in details)


def initdb_was_full(error: ClusterFailed, exhausted: bool) -> bool:
    """Return whether ``initdb``, which runs no user's code, failed for lack of space."""
    return exhausted or NO_SPACE in (error.details or "")


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
