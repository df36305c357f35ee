"""The marker that makes a directory a container, and the modes that make it immutable."""

import os
import stat
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument

from .layout import DATA, MARKER
from .tree import opened

MODE = 0o700

_SEALED = 0o500


def mark(container: int) -> None:
    """Put the marker into a new container, given by descriptor, before anything else."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    os.close(os.open(MARKER, flags, 0o600, dir_fd=container))


def is_marked(container: int) -> bool:
    """Return whether an open directory is a container."""
    try:
        status = os.stat(MARKER, dir_fd=container, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode)


def is_whole(container: Path) -> bool:
    """Return whether a container has the files that every cluster has.

    These are ``PG_VERSION`` and a control file that begins with a system identifier.
    """
    try:
        with opened(container) as directory, opened(DATA, within=directory) as data:
            version = os.stat("PG_VERSION", dir_fd=data, follow_symlinks=False)
            with opened("global", within=data) as shared:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                control = os.open("pg_control", flags, dir_fd=shared)
            try:
                return stat.S_ISREG(version.st_mode) and any(os.read(control, 8))
            finally:
                os.close(control)
    except OSError:
        return False


def seal(container: int) -> None:
    """Make a container read-only by the modes of its two directories.

    This holds for btrfs as well: ``rm`` could not delete a read-only subvolume.
    """
    _set_modes(container, _SEALED)


def unseal(container: int) -> None:
    """Make a container writable again."""
    _set_modes(container, MODE)


def _set_modes(container: int, mode: int) -> None:
    os.fchmod(container, mode)
    try:
        with opened(DATA, within=container) as data:
            os.fchmod(data, mode)
    except (FileNotFoundError, NotADirectoryError):
        return  # a workspace may lack it, and a damaged container may have something else


def check_tablespaces(container: int) -> None:
    """Raise InvalidArgument when the cluster has data outside its data directory.

    A copy would share it with the original, and both would write to it. In-place tablespaces
    are directories and are copied like all others.
    """
    with opened(DATA, within=container) as data:
        links = _links_in(data, "pg_tblspc")
    if links:
        raise InvalidArgument(
            "the cluster has a tablespace outside its data directory, which cannot be copied: "
            "drop it, or create it in place (allow_in_place_tablespaces, LOCATION '')",
            ", ".join(f"{oid} in {place}" for oid, place in sorted(links.items()))
            + " (remove yourself what PostgreSQL has made there)",
        )


def _links_in(parent: int, name: str) -> dict[str, str]:
    """Return the symbolic links in a directory, each with its target."""
    try:
        with opened(name, within=parent) as directory, os.scandir(directory) as entries:
            return {
                entry.name: os.readlink(entry.name, dir_fd=directory)
                for entry in entries
                if entry.is_symlink()
            }
    except FileNotFoundError:
        return {}
