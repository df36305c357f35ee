"""Clones whose files share their blocks with the originals: XFS, btrfs, bcachefs."""

import errno
import fcntl
import os
from pathlib import Path

from .backend import Owner
from .copying import CopyBackend, copy_cluster, copy_data

_FICLONE = 0x40049409
_REFUSALS = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV)


class ReflinkBackend(CopyBackend):
    """Clones with one ``FICLONE`` per file."""

    name = "reflink"
    copy_on_write = True

    def clone(self, source: Path, container: Path, owner: Owner | None) -> None:
        """See ``Backend.clone``."""
        self.create(container)
        share_cluster(source, container, owner)


def share_cluster(source: Path, container: Path, owner: Owner | None) -> None:
    """Copy the data directory of one container into another without copying its blocks."""
    copy_cluster(source, container, owner, _share_data)


def share(reading: int, writing: int) -> None:
    """Make an empty file share the blocks of another. Raises OSError where it cannot."""
    fcntl.ioctl(writing, _FICLONE, reading)


def _share_data(reading: int, writing: int, status: os.stat_result) -> None:
    try:
        share(reading, writing)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        copy_data(reading, writing, status)
