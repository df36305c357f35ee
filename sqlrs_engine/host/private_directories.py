"""Directories that only the engine's user can change.

Another user with write access could replace the engine's files.
"""

import contextlib
import errno
import os
import stat
from pathlib import Path

from sqlrs_engine.errors import Conflict, InvalidArgument

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def private_directory(path: Path, what: str, *, closed: bool = False) -> None:
    """Create ``path`` (0700), or make sure that no other user can change what is in it.

    ``what`` names it in messages. A mode that lets others write is tightened; with ``closed``,
    so is a mode that lets them read or enter. Raises what ``check_owner`` raises, and Conflict
    when the directory may not be made.
    """
    try:
        with contextlib.suppress(FileExistsError):  # not a directory: reported below
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
            raise
        raise Conflict(
            f"cannot create {what}: choose another place with --state-dir, XDG_STATE_HOME or "
            "SQLRS_STATE_STORE",
            str(error),
        ) from error
    check_owner(path, what)
    mode = stat.S_IMODE(path.stat().st_mode)
    tightened = mode & ~(_OTHERS if closed else _OTHERS_WRITE)
    if tightened != mode:
        path.chmod(tightened)


def others_can_change(path: Path) -> bool:
    """Return whether another user could change the programs in a directory; root is trusted."""
    status = path.stat()
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & stat.S_IWOTH)


def check_owner(path: Path, what: str) -> None:
    """Make sure that an existing directory belongs to the engine's user alone.

    This holds for root as well: the owner of a directory can replace everything in it. Raises
    Conflict for a directory of another user or a shared one such as ``/tmp``, InvalidArgument
    for anything but a directory.
    """
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidArgument(
            f"{what} is not a directory: move the file away, or choose another place", str(path)
        )
    if status.st_uid != os.geteuid():
        raise Conflict(
            f"{what} belongs to another user",
            f"{path} is owned by uid {status.st_uid}, and this is uid {os.geteuid()}; use "
            "another directory, or run as its owner",
        )
    if status.st_mode & stat.S_ISVTX:
        raise Conflict(f"{what} is shared", f"{path}: use a directory inside it")
