"""btrfs subvolumes, by ioctl: a clone is one snapshot, whatever its size.

An ordinary user may do all of this, except that deleting a subvolume at once takes root
or the mount option ``user_subvol_rm_allowed``: others have to empty it first.
"""

import errno
import fcntl
import os
import struct

_SNAP_CREATE_V2 = 0x50009417
_SUBVOL_CREATE_V2 = 0x50009418
_SNAP_DESTROY = 0x5000940F
_SUBVOL_GETFLAGS = 0x80089419
_SYNC = 0x9408
_SUBVOL_SYNC_WAIT = 0x40109441
_WAIT_FOR_QUEUED = 1
_WAIT = struct.Struct("=QII")  # struct btrfs_ioctl_subvol_wait
_FLAGS = struct.Struct("=Q")
_NAMED = struct.Struct("=q4088s")  # struct btrfs_ioctl_vol_args
_NAMED_V2 = struct.Struct("=qQQ32x4040s")  # struct btrfs_ioctl_vol_args_v2

_NO_SUBVOLUME = (errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EOPNOTSUPP)
_NOT_PERMITTED = (errno.EPERM, errno.EACCES, errno.ENOTEMPTY)


def is_subvolume(directory: int) -> bool:
    """Tell whether an open directory is the top of a subvolume."""
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
    """Delete a subvolume with all it holds; False when that takes more rights."""
    try:
        _call(parent, _SNAP_DESTROY, _NAMED.pack(0, os.fsencode(name)))
    except OSError as error:
        if error.errno in _NOT_PERMITTED:
            return False
        raise
    return True


def settle(directory: int) -> None:
    """Wait until the subvolumes deleted so far have given their space back.

    A commit lets the kernel begin with that; since Linux 6.13 its end can be waited for.
    """
    fcntl.ioctl(directory, _SYNC)
    try:
        fcntl.ioctl(directory, _SUBVOL_SYNC_WAIT, _WAIT.pack(0, _WAIT_FOR_QUEUED, 0))
        fcntl.ioctl(directory, _SYNC)
    except OSError as error:
        if error.errno not in (*_NO_SUBVOLUME, *_NOT_PERMITTED):
            raise


def _call(descriptor: int, request: int, argument: bytes) -> bytearray:
    # A bytearray is handed to the kernel as it is, whatever its size; bytes are not.
    buffer = bytearray(argument)
    fcntl.ioctl(descriptor, request, buffer)
    return buffer
