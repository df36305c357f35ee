"""Working directories for programs for which the client names none.

::

    scratch/<run>-<random>      empty at first, removed with all that is in it

Relative paths of a program lead there rather than to the working directory of the engine. ``run``
names one run of an engine.
"""

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.host.disk_space import space_on

from .containers import MODE


class Scratch:
    """The scratch directories of one store; safe to use from any thread."""

    def __init__(self, store_root: Path) -> None:
        self._root = store_root / "scratch"
        self._run = secrets.token_hex(8)

    @contextmanager
    def directory(self) -> Iterator[Path]:
        """Make a directory for the block. Raises StorageFull."""
        path = self._root / f"{self._run}-{secrets.token_hex(8)}"
        with space_on(self._root):
            path.mkdir(MODE, parents=True)
        try:
            yield path
        finally:
            # A program that outlived its run may still write: the next start removes the rest.
            shutil.rmtree(path, ignore_errors=True)

    def sweep(self) -> None:
        """Remove the directories of earlier engines."""
        if self._root.is_dir():
            for path in self._root.iterdir():
                if not path.name.startswith(f"{self._run}-"):
                    shutil.rmtree(path, ignore_errors=True)
