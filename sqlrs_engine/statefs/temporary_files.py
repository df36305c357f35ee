"""Removes temporary files of engines and commands that were killed."""

import logging
import time
from pathlib import Path

from . import tree
from .removal import remove_directory

PROBE = ".sqlrs-probe-"

_OLD_SECONDS = 60.0  # a writer may be at work, but none takes as long

_log = logging.getLogger(__name__)


def sweep(directory: Path, *prefixes: str) -> None:
    """Delete entries older than a minute whose names have one of the prefixes; log failures."""
    oldest = time.time() - _OLD_SECONDS
    for path in directory.iterdir():
        if not path.name.startswith(prefixes):
            continue
        try:
            if path.lstat().st_mtime < oldest:
                _remove(path)
        except OSError:
            _log.exception("cannot delete the temporary file %s", path)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink()
        return
    with tree.opened(path.parent) as parent:
        remove_directory(parent, path.name)
