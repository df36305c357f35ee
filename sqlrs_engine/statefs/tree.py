"""Directory trees by descriptor: no step follows a symbolic link or leaves its mount.

When the engine is root, the trees belong to the servers' user, who may change them at any
moment. A path checked first and used later could lead anywhere by then.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
WRITABLE = stat.S_IRWXU

Where = str | Path


@contextmanager
def opened(path: Where, *, within: int | None = None) -> Iterator[int]:
    """Hold a directory open. Raises OSError when it is a link or no directory."""
    descriptor = os.open(path, DIRECTORY, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def usage(directory: int) -> int:
    """Return the apparent bytes of the regular files below; what vanishes meanwhile is none."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    with opened(entry.name, within=directory) as below:
                        total += usage(below)
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue
    return total


def give_to(directory: int, uid: int, gid: int) -> None:
    """Make a directory and everything below belong to a user."""
    os.fchown(directory, uid, gid)
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                with opened(entry.name, within=directory) as below:
                    give_to(below, uid, gid)
            else:
                os.chown(entry.name, uid, gid, dir_fd=directory, follow_symlinks=False)


def empty(
    directory: int, *, last: str | None = None, pause: Callable[[], object] = lambda: None
) -> None:
    """Delete everything below a directory, the entry named ``last`` after all others.

    ``pause`` is called before each directory, to let more urgent work go first.

    Raises OSError, also when a filesystem is mounted below: it is not entered.
    """
    _empty(directory, _mount_id(directory), last, pause)


def _empty(directory: int, mount: str, last: str | None, pause: Callable[[], object]) -> None:
    pause()
    mode = os.fstat(directory).st_mode
    if mode & WRITABLE != WRITABLE:
        os.fchmod(directory, WRITABLE)
    with os.scandir(directory) as scan:
        entries = sorted(scan, key=lambda entry: entry.name == last)
    for entry in entries:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=directory)
            continue
        with opened(entry.name, within=directory) as below:
            if _mount_id(below) != mount:
                raise OSError(errno.EBUSY, "a filesystem is mounted there", entry.name)
            _empty(below, mount, None, pause)
        os.rmdir(entry.name, dir_fd=directory)


def _mount_id(descriptor: int) -> str:
    """Return the id of the mount: it tells bind mounts, and not btrfs subvolumes, apart."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))
