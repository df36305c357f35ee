"""Opens the database; replaces a damaged one by a new one and keeps its files."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlrs_engine.clock import Timestamp, utc_now
from sqlrs_engine.errors import StoreDamaged

S = TypeVar("S")

_log = logging.getLogger(__name__)

_COMPANIONS = ("", "-wal", "-shm")


def open_whole(path: Path, opened: Callable[[Path], S], *, replaceable: bool) -> S:
    """Open a database; open a new one when it is damaged and ``replaceable``.

    Raises StoreDamaged when it is damaged and not replaceable, and what ``opened`` raises.
    """
    if _is_stranded(path):
        _log.warning(
            "state.db is missing: its remaining files are kept as %s", set_aside(path, utc_now())
        )
    try:
        return opened(path)
    except StoreDamaged as damage:
        if not replaceable:
            raise
        _log.error("%s; it is kept as %s", damage, set_aside(path, utc_now()))
    return opened(path)


def set_aside(path: Path, now: Timestamp) -> Path:
    """Rename a database and the files of SQLite beside it; return its new path."""
    stamp = "".join(character for character in now if character.isalnum())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists() or source.is_symlink():
            source.rename(aside.with_name(aside.name + companion))
    return aside


def _is_stranded(path: Path) -> bool:
    """Return whether a write-ahead log lacks its database: SQLite would delete the log."""
    log = path.with_name(f"{path.name}-wal")
    return _size(path) == 0 and _size(log) > 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
