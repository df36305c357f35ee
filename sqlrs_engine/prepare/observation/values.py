"""What observed inputs are now: digests of files, names in directories, targets of links."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.file_reads import FileDigests
from sqlrs_engine.store.records import ObservedInput

from .places import Kind, is_left_out, kind_of

ABSENT = "absent"
"""The value of what is not there, is something else or cannot be read."""

_BY_PRODUCTS = (".pyc", "~")


class InputValues:
    """Returns the values of inputs; remembers the digests of files that do not change."""

    def __init__(self, digests: FileDigests | None = None) -> None:
        self._digests = digests or FileDigests()

    def value(self, root: str | None, given: ObservedInput) -> str:
        """Return what an input is now, ``ABSENT`` for a step without a root.

        What could not be observed has no value: an empty text stands for it.
        """
        if given.kind == "unseen":
            return ""
        if root is None:
            return ABSENT
        path = os.path.normpath(Path(root, given.path))
        if given.kind == "file":
            return self.file(path)
        return directory(path) if given.kind == "directory" else link(root, path)

    def file(self, path: str) -> str:
        """Return the digest of a file."""
        try:
            return self._digests.digest(Path(path))[0]
        except InvalidArgument:
            return ABSENT


def directory(path: str) -> str:
    """Return the value of a directory."""
    try:
        with os.scandir(path) as found:
            return entries_value({entry.name: kind_of(entry) for entry in found})
    except OSError:
        return ABSENT


def entries_value(entries: Mapping[str, Kind]) -> str:
    """Return a hash of the names in a directory that may matter to a program which lists it.

    Hidden ones and by-products do not, nor do the directories that are not observed.
    """
    names = sorted(
        f"{name}/" if kind == "directory" else name
        for name, kind in entries.items()
        if not name.startswith(".")
        and not name.endswith(_BY_PRODUCTS)
        and not (kind == "directory" and is_left_out(name))
    )
    return hashlib.sha256(b"\0".join(map(os.fsencode, names))).hexdigest()


def link(root: str, path: str) -> str:
    """Return what a symbolic link leads to, relative to the root."""
    if not Path(path).is_symlink():
        return ABSENT
    return os.path.relpath(os.path.realpath(path), root)
