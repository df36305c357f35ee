"""btrfs subvolumes, by ioctl: a clone is one snapshot, whatever its size.

Ordinary users may do all of this, except that deleting a subvolume with its contents requires root
or the mount option ``user_subvol_rm_allowed``: other users have to empty it first.
"""

import contextlib
import errno
import fcntl
import os
import struct
import time

_SNAP_CREATE_V2 = 0x50009417
_SUBVOL_CREATE_V2 = 0x50009418
_SNAP_DESTROY = 0x5000940F
_SUBVOL_GETFLAGS = 0x80089419
_SYNC = 0x9408
_CLEANER_SECONDS = 0.05
_FLAGS = struct.Struct("=Q")
_NAMED = struct.Struct("=q4088s")  # struct btrfs_ioctl_vol_args
_NAMED_V2 = struct.Struct("=qQQ32x4040s")  # struct btrfs_ioctl_vol_args_v2

_NO_SUBVOLUME = (errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP)
_NOT_PERMITTED = (errno.EPERM, errno.EACCES, errno.ENOTEMPTY)


def is_subvolume(directory: int) -> bool:
    """Return whether an open directory is the top of a subvolume."""
    try:
        _call(directory, _SUBVOL_GETFLAGS, bytes(_FLAGS.size))
    except OSError as error:
        if error.errno in _NO_SUBVOLUME:
            return False
        raise
    return True


def create_subvolume(parent: int, name: str) -> None:
    """Make an empty subvolume. Raises OSError, ENOTTY where there is no btrfs."""
    _call(parent, _SUBVOL_CREATE_V2, _NAMED_V2.pack(0, 0, 0, os.fsencode(name)))


def snapshot(source: int, parent: int, name: str) -> None:
    """Make a writable snapshot of the subvolume ``source``."""
    _call(parent, _SNAP_CREATE_V2, _NAMED_V2.pack(source, 0, 0, os.fsencode(name)))


def destroy(parent: int, name: str) -> bool:
    """Delete a subvolume with its contents; return False when that requires more rights."""
    try:
        _call(parent, _SNAP_DESTROY, _NAMED.pack(0, os.fsencode(name)))
    except OSError as error:
        if error.errno in _NOT_PERMITTED:
            return False
        raise
    return True


def settle(directory: int) -> None:
    """Commit, so that the space of deleted subvolumes becomes free; most of it is on return.

    The first commit wakes the kernel's cleaner, the second frees what the cleaner has dropped.
    Waiting for the cleaner itself, as Linux 6.13 can, may never end on a full disk.
    """
    with contextlib.suppress(OSError):  # the next commit, some seconds later, frees it
        fcntl.ioctl(directory, _SYNC)
        time.sleep(_CLEANER_SECONDS)
        fcntl.ioctl(directory, _SYNC)


def _call(descriptor: int, request: int, argument: bytes) -> bytearray:
    # A bytearray of any size reaches the kernel unchanged; bytes do so only up to 1,024.
    buffer = bytearray(argument)
    fcntl.ioctl(descriptor, request, buffer)
    return buffer
