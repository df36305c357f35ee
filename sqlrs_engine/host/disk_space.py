"""A full disk: recognised among other failures, and reported with advice.

Only the number of an ``OSError`` and ``statvfs`` count: the text of an error may come from any
program.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlrs_engine.errors import DISK_FULL, StorageFull

EXHAUSTED_BYTES = 4 * 1024**2
"""With less than this free, writes of any size fail or are about to."""

_FIRST_RELIEF = 32 * 1024**2
_MORE_EACH_TIME = 4

_FULL = (errno.ENOSPC, errno.EDQUOT)
T = TypeVar("T")


def is_full(error: BaseException) -> bool:
    """Return whether an error says that no space is left."""
    return isinstance(error, OSError) and error.errno in _FULL


def exhausted(place: Path, below: int = EXHAUSTED_BYTES) -> bool:
    """Return whether the filesystem of ``place`` has less than ``below`` bytes, or no inode, left.

    False when it cannot be measured.
    """
    try:
        status = os.statvfs(place)
    except OSError:
        return False
    no_inodes = status.f_files > 0 and status.f_favail == 0
    return status.f_bavail * status.f_frsize < below or no_inodes


@contextmanager
def space_on(root: Path) -> Iterator[None]:
    """Turn the error of a full filesystem or an exhausted quota into StorageFull."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageFull(DISK_FULL, f"{root}: {error.strerror}") from error


def sync(directory: int) -> None:
    """Wait until all that was written to an open directory's filesystem has reached the disk.

    Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(directory) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def with_relief(work: Callable[[], T], relieve: Callable[[StorageFull, int], bool]) -> T:
    """Do work that needs disk space; repeat it as long as more space can be freed.

    ``relieve`` gets the failure and the bytes to free, four times as many each time, and returns
    whether it freed any. Raises StorageFull when it did not.
    """
    size = _FIRST_RELIEF
    while True:
        try:
            return work()
        except StorageFull as failure:
            if not relieve(failure, size):
                raise
        size *= _MORE_EACH_TIME
