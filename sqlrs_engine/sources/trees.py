"""Clients' files as files of this machine, for psql and Liquibase.

::

    sources/<run>-<name>        the tree of a job, or of all jobs with the same changelog:
                                as much of the client's workspace as they need

Scripts may write to these files, so every tree has copies of its own. ``run`` is a random id of the
running engine; sweeping removes the trees of earlier runs.
"""

import logging
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from sqlrs_engine.errors import Conflict
from sqlrs_engine.host.disk_space import space_on
from sqlrs_engine.statefs import tree

from .blobs import DIRECTORY_MODE, Blobs

FILE_MODE = 0o600

_log = logging.getLogger(__name__)


class Trees:
    """The trees of one engine; safe to use from any thread."""

    def __init__(self, directory: Path, blobs: Blobs) -> None:
        self._root = directory
        self._blobs = blobs
        self._run = secrets.token_hex(8)

    def stage(self, name: str, files: Mapping[str, str]) -> Path:
        """Create a tree of files (digests by key), and return its path.

        Raises Conflict when a content is missing, StorageFull; then no tree remains.
        """
        place = self.place(name)
        try:
            with space_on(self._root):
                place.mkdir(DIRECTORY_MODE, parents=True)
                for key, digest in files.items():
                    self._copy(place / key, key, digest)
        except BaseException:
            self._remove(place.name)
            raise
        return place

    def remove(self, name: str) -> None:
        """Remove a tree, if there is one."""
        self._remove(self.place(name).name)

    def sweep(self) -> None:
        """Remove the trees that an earlier engine left behind."""
        if self._root.is_dir():
            for path in self._root.iterdir():
                if not path.name.startswith(f"{self._run}-"):
                    self._remove(path.name)

    def place(self, name: str) -> Path:
        """Return the path of a tree, whether or not it exists."""
        return self._root / f"{self._run}-{name}"

    def _copy(self, path: Path, key: str, digest: str) -> None:
        path.parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
            if not self._blobs.copy(digest, file):
                raise Conflict("an uploaded file is gone: prepare again", key)

    def _remove(self, name: str) -> None:
        try:
            with tree.opened(self._root) as parent:
                with tree.opened(name, within=parent) as directory:
                    tree.empty(directory)
                os.rmdir(name, dir_fd=parent)
        except FileNotFoundError:
            return
        except OSError:
            _log.exception("cannot remove %s, the next start tries again", self._root / name)
