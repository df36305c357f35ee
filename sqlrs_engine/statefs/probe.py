"""Tries out which ways to clone the filesystem of a store supports."""

import tempfile
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.host.disk_space import is_full, space_on

from . import btrfs, tree
from .backend import Backend
from .copying import CopyBackend
from .reflink import ReflinkBackend, share
from .removal import remove_directory
from .snapshots import BtrfsBackend
from .temporary_files import PROBE

SETTING = "snapshot.backend"

_FASTEST_FIRST = ("btrfs", "reflink", "copy")
_NEEDS = {
    "btrfs": "btrfs",
    "reflink": "XFS (made with reflink=1), btrfs or bcachefs",
}


def choose_backend(root: Path, wanted: str) -> Backend:
    """Return the backend that ``snapshot.backend`` selects; ``auto`` selects the fastest.

    ``root`` is an existing, writable directory on the store's filesystem; nothing is left
    there. Raises InvalidArgument when the backend does not work on it, StorageFull when
    the disk is too full to try, OSError when the directory is not writable.
    """
    with space_on(root):
        return _choose(root, wanted)


def named(name: str) -> Backend:
    """Return a backend that was chosen before, without trying it."""
    if name == "btrfs":
        return BtrfsBackend()
    return ReflinkBackend() if name == "reflink" else CopyBackend()


def _choose(root: Path, wanted: str) -> Backend:
    if wanted == "auto":
        return next(found for name in _FASTEST_FIRST if (found := _backend(root, name)))
    if wanted == "overlay":
        raise InvalidArgument(
            "this version has no overlay backend", f"set {SETTING} to auto, btrfs, reflink or copy"
        )
    if wanted not in _FASTEST_FIRST:
        raise InvalidArgument(f"{SETTING} must be one of auto, btrfs, reflink, copy", wanted)
    backend = _backend(root, wanted)
    if backend is None:
        raise InvalidArgument(
            f"the filesystem of the state store does not support {wanted} clones",
            f"{root}: set {SETTING} to auto, or put the state store on {_NEEDS[wanted]}",
        )
    return backend


def _backend(root: Path, name: str) -> Backend | None:
    """Return a backend if it works here."""
    works = {"btrfs": _has_snapshots, "reflink": _has_reflinks}.get(name)
    return named(name) if works is None or works(root) else None


def _has_reflinks(root: Path) -> bool:
    with tempfile.TemporaryFile(dir=root) as one, tempfile.TemporaryFile(dir=root) as other:
        one.write(b"sqlrs")
        one.flush()
        try:
            share(one.fileno(), other.fileno())
        except OSError as error:
            return _no(error)
    return True


def _has_snapshots(root: Path) -> bool:
    """Make a subvolume and a snapshot and delete both: every step must be allowed."""
    with tempfile.TemporaryDirectory(dir=root, prefix=PROBE) as name:
        directory = Path(name)
        with tree.opened(directory) as parent:
            try:
                btrfs.create_subvolume(parent, "source")
                with tree.opened("source", within=parent) as source:
                    btrfs.snapshot(source, parent, "snapshot")
                for each in ("snapshot", "source"):
                    remove_directory(parent, each)
            except OSError as error:
                return _no(error)
    return True


def _no(error: OSError) -> bool:
    """Return False: the filesystem does not support it. Raise the error of a full disk."""
    if is_full(error):
        raise error
    return False
