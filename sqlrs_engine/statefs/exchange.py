"""Exchanges two directories in one step: rename(2), RENAME_EXCHANGE."""

import ctypes
import errno
import os
from pathlib import Path

_HERE = -100  # AT_FDCWD
RENAME_EXCHANGE = 2
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path) -> None:
    """Exchange two directories of one filesystem; raise OSError.

    Takes three renames where the filesystem does not support one step.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), RENAME_EXCHANGE)
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), str(one))
    temporary = other.with_name(f"{other.name}.aside")
    one.rename(temporary)
    other.rename(one)
    temporary.rename(other)
