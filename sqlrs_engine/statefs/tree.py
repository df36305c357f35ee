"""Directory trees by descriptor: no step follows a symbolic link or leaves its mount.

When the engine is root, the trees belong to the servers' user, which may change them at any
moment: a path that was checked could lead elsewhere when it is used.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
WRITABLE = stat.S_IRWXU

Where = str | Path

MOUNTS = Path("/proc/self/mountinfo")

_MOUNT_POINT = 4
_ESCAPED = re.compile(r"\\([0-7]{3})")


@contextmanager
def opened(path: Where, *, within: int | None = None) -> Iterator[int]:
    """Open a directory for the block. Raises OSError when it is a link or not a directory."""
    descriptor = os.open(path, DIRECTORY, dir_fd=within)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def usage(directory: int) -> int:
    """Return the apparent bytes of the regular files below; files that vanish are not counted."""
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


def change_owner(directory: int, uid: int, gid: int) -> None:
    """Change the owner of a directory and of everything below."""
    os.fchown(directory, uid, gid)
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                with opened(entry.name, within=directory) as below:
                    change_owner(below, uid, gid)
            else:
                os.chown(entry.name, uid, gid, dir_fd=directory, follow_symlinks=False)


def empty(
    directory: int, *, last: str | None = None, pause: Callable[[], object] = lambda: None
) -> None:
    """Delete everything below a directory, the entry named ``last`` after all others.

    ``pause`` is called before each directory: it may wait for more urgent work.

    Raises OSError, also when a filesystem is mounted below: it is not entered.
    """
    _empty(directory, mount_id(directory), last, pause)


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
            if mount_id(below) != mount:
                raise OSError(errno.EBUSY, "a filesystem is mounted there", entry.name)
            _empty(below, mount, None, pause)
        os.rmdir(entry.name, dir_fd=directory)


def mount_id(descriptor: int) -> str:
    """Return the id of the mount. Bind mounts differ in it, btrfs subvolumes do not."""
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("mnt_id:"))


def mounts_in(directory: Path) -> list[Path]:
    """Return the mount points on or below a directory, given by its real path."""
    return [place for place in _mount_points() if place.is_relative_to(directory)]


def _mount_points() -> Iterator[Path]:
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        yield Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), line.split(" ")[_MOUNT_POINT]))
