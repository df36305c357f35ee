"""Clones that are btrfs snapshots."""

import os
from collections.abc import Callable
from pathlib import Path

from . import btrfs, tree
from .backend import Owner
from .containers import MODE, mark, unseal
from .copying import is_left_behind
from .layout import DATA, MARKER
from .reflink import share_cluster


class BtrfsBackend:
    """Makes each container a subvolume; clones containers that are none file by file."""

    name = "btrfs"
    copy_on_write = True

    def create(self, container: Path) -> None:
        """See ``Backend.create``."""
        with tree.opened(container.parent) as parent:
            btrfs.create_subvolume(parent, container.name)
            with tree.opened(container.name, within=parent) as directory:
                os.fchmod(directory, MODE)
                mark(directory)

    def clone(self, source: Path, container: Path, owner: Owner | None) -> None:
        """See ``Backend.clone``."""
        with tree.opened(source) as original, tree.opened(container.parent) as parent:
            if not btrfs.is_subvolume(original):
                self.create(container)
                share_cluster(source, container, owner)
                return
            btrfs.snapshot(original, parent, container.name)
            with tree.opened(container.name, within=parent) as directory:
                unseal(directory)
                _make_like_a_copy(directory, owner)

    def settle(self, root: Path) -> None:
        """See ``Backend.settle``."""
        with tree.opened(root.resolve()) as directory:
            btrfs.settle(directory)


def _make_like_a_copy(container: int, owner: Owner | None) -> None:
    """Remove from a snapshot what a copy would not have, and change its owner."""
    _delete(container, lambda name: name not in (DATA, MARKER))
    with tree.opened(DATA, within=container) as data:
        _delete(data, is_left_behind)
        status = os.fstat(data)
        if owner is not None and (status.st_uid, status.st_gid) != owner:
            tree.change_owner(data, *owner)


def _delete(directory: int, doomed: Callable[[str], bool]) -> None:
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries if doomed(entry.name)]
    for name in names:
        os.unlink(name, dir_fd=directory)
