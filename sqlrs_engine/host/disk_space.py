"""A full disk: told from other failures, and said in a way that helps.

Only the filesystem's own word counts: the number of an ``OSError``, or ``statvfs``. The text
of an error may be anybody's.
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

    False when it cannot be told.
    """
    try:
        status = os.statvfs(place)
    except OSError:
        return False
    no_inodes = status.f_files > 0 and status.f_favail == 0
    return status.f_bavail * status.f_frsize < below or no_inodes


@contextmanager
def space_on(root: Path) -> Iterator[None]:
    """Turn a full filesystem, or a quota used up, into StorageFull."""
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
    """Do something that needs space, again and again as long as more can be given back for it.

    ``relieve`` is given the failure and how many bytes to give back, each time four times as
    many, and returns whether it gave any.
    """
    size = _FIRST_RELIEF
    while True:
        try:
            return work()
        except StorageFull as failure:
            if not relieve(failure, size):
                raise
        size *= _MORE_EACH_TIME
