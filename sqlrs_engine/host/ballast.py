"""Space that is only there to be given up: without any, a full disk could not be emptied.

Deleting takes space too: the row's removal goes through SQLite's log, a start writes
``engine.json``. The ballast is a few files, released one at a time, so that a program that
fills the disk meanwhile gets no more than one of them.
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
_ROOM = 4  # times its own size: the disk must have as much to get it back

_log = logging.getLogger(__name__)


class Ballast:
    """The ballast of one store; safe to use from any thread."""

    def __init__(self, store_root: Path, on_release: Callable[[], object] = lambda: None) -> None:
        """``on_release`` is called when some was given up, to have it restored one day."""
        self._directory = store_root / "ballast"
        self._on_release = on_release
        self._lock = threading.Lock()

    def release(self) -> bool:
        """Give up one piece; False when there is none left."""
        self._on_release()
        with self._lock:
            for piece in self._pieces():
                try:
                    piece.unlink()
                    self._reach_disk()
                except OSError as error:
                    _log.warning("cannot give up %s: %s", piece, error)
                    continue
                _log.warning("the disk is full: gave up %s of the ballast", piece.name)
                return True
        return False

    def release_if_exhausted(self) -> None:
        """Give up pieces until the disk has a little space, or all of them."""
        while exhausted(self._directory.parent, PIECE_BYTES) and self.release():
            pass

    def restore(self) -> None:
        """Make what is missing. Raises StorageFull unless the disk has plenty of room."""
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
        """Btrfs has the space back only when the deletion has reached the disk."""
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
