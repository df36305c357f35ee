"""Two directories that swap their places in one step (rename(2), RENAME_EXCHANGE)."""

import ctypes
import errno
import os
from pathlib import Path

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def exchange(one: Path, other: Path) -> None:
    """Swap two directories of one filesystem.

    Where the filesystem cannot do it in one step, it takes three.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
    if done == 0:
        return
    code = ctypes.get_errno()
    if code not in _UNSUPPORTED:
        raise OSError(code, os.strerror(code), str(one))
    aside = other.with_name(f"{other.name}.aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
