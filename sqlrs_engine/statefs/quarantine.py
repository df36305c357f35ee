"""Containers that the engine neither uses nor deletes, because their data may be needed.

They are in ``set-aside`` below the store's root, each under its former path. Servers in them keep
running: they use their directory by descriptor, not by name.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from .containers import MODE, seal, unseal
from .layout import Layout
from .tree import opened

DIRECTORY = "set-aside"


class Quarantine:
    """The containers of one store that are out of use."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.root = layout.root / DIRECTORY

    def put(self, container: Path) -> Path:
        """Move a container, or anything in its place, out of use; return its new path."""
        place = self._of(container)
        if os.path.lexists(place):
            place = place.with_name(f"{place.name}.{secrets.token_hex(4)}")
        place.parent.mkdir(MODE, parents=True, exist_ok=True)
        _move(container, place)
        return place

    def take_back(self, container: Path) -> bool:
        """Move a container back to its own path if that is free; return whether it was moved."""
        place = self._of(container)
        if os.path.lexists(container) or not place.is_dir():
            return False
        container.parent.mkdir(MODE, parents=True, exist_ok=True)
        _move(place, container)
        return True

    def containers(self) -> Iterator[Path]:
        """Yield the former paths of the containers."""
        for pattern in ("instances/*", "engines/*/*/states/*", "work/*"):
            for place in self.root.glob(pattern):
                yield self._layout.root / place.relative_to(self.root)

    def _of(self, container: Path) -> Path:
        return self.root / container.relative_to(self._layout.root)


def _move(source: Path, target: Path) -> None:
    """Rename a directory, which may be sealed and stays so, or anything else."""
    if source.is_symlink() or not source.is_dir():
        source.rename(target)
        return
    with opened(source) as container:
        sealed = not os.fstat(container).st_mode & 0o200
        if sealed:
            unseal(container)  # a read-only directory cannot be moved
        try:
            source.rename(target)
        finally:
            if sealed:
                seal(container)
