"""Reserved disk space that is released when the disk is full, so that states can be deleted.

Deleting takes space too: SQLite logs the removal of a row, and a start writes ``engine.json``. The
ballast is a few files, released one at a time, so that another program that fills the disk gets
only one of them.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from sqlrs_engine.errors import DISK_FULL, StorageFull

from .disk_space import EXHAUSTED_BYTES, exhausted, space_on, sync

PIECES = 4
PIECE_BYTES = 2 * 1024**2
_ROOM = 4  # times its own size must be free before the ballast is restored

_log = logging.getLogger(__name__)


class Ballast:
    """The ballast of one store; safe to use from any thread."""

    def __init__(self, store_root: Path, on_release: Callable[[], object] = lambda: None) -> None:
        """``on_release`` is called when a piece is released, to have it restored later."""
        self._directory = store_root / "ballast"
        self._on_release = on_release
        self._lock = threading.Lock()

    def release(self) -> bool:
        """Release one piece; return False when none is left."""
        self._on_release()
        with self._lock:
            for piece in self._pieces():
                try:
                    piece.unlink()
                    self._reach_disk()
                except OSError as error:
                    _log.warning("cannot release %s: %s", piece, error)
                    continue
                _log.warning("the disk is full: released piece %s of the ballast", piece.name)
                return True
        return False

    def release_if_exhausted(self) -> None:
        """Release pieces until the disk has a little space, or none is left."""
        while exhausted(self._directory.parent, PIECE_BYTES) and self.release():
            pass

    def restore(self) -> None:
        """Make the missing pieces. Raises StorageFull unless the disk has plenty of room."""
        with self._lock, space_on(self._directory):
            missing = [piece for piece in self._names() if not _is_piece(piece)]
            room = len(missing) * PIECE_BYTES * _ROOM + EXHAUSTED_BYTES
            if missing and exhausted(self._directory.parent, room):
                raise StorageFull(DISK_FULL, str(self._directory))
            self._directory.mkdir(mode=0o700, exist_ok=True)
            for piece in missing:
                _fill(piece)

    def _names(self) -> list[Path]:
        return [self._directory / str(number) for number in range(PIECES)]

    def _pieces(self) -> list[Path]:
        return [piece for piece in self._names() if _is_piece(piece)]

    def _reach_disk(self) -> None:
        """Sync: btrfs regains the space only when the deletion has reached the disk."""
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def _is_piece(path: Path) -> bool:
    try:
        return path.lstat().st_size == PIECE_BYTES
    except OSError:
        return False


def _fill(piece: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(piece, flags, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, PIECE_BYTES)
    except OSError:
        with contextlib.suppress(OSError):
            piece.unlink()
        raise
    finally:
        os.close(descriptor)
