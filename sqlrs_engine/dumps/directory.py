"""The kept dumps on the disk.

::

    dumps/kept/<64 digits>/dump          the content; the name of the directory is its SHA-256
    dumps/kept/<64 digits>/about.json    when it was uploaded, and its label
    dumps/tmp/<run>-<random>/            an upload under way, or a dump that is being deleted

The modification time of a dump's directory is that of its last use. A dump is written to the disk
before it is kept, and appears by one rename. ``run`` is a random id of the running engine.
"""

import logging
import os
import secrets
from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import orjson

from sqlrs_engine import clock
from sqlrs_engine.ids import is_state_id

from .dump import Dump

CONTENT = "dump"
ABOUT = "about.json"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_log = logging.getLogger(__name__)


class DumpDirectory:
    """The dumps of one state store; its callers keep changes of one dump apart."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept = root / "kept"
        self._tmp = root / "tmp"
        self._run = secrets.token_hex(8)

    def load(self) -> Iterator[Dump]:
        """Yield the kept dumps; one that cannot be read is logged and left alone."""
        for place in sorted(self._kept.iterdir()) if self._kept.is_dir() else ():
            if not is_state_id(place.name):
                continue
            try:
                yield _read(place)
            except (OSError, ValueError, KeyError):
                _log.exception("cannot use the dump in %s", place)

    def content(self, dump_id: str) -> Path:
        """Return the path of a dump's content, whether or not it exists."""
        return self._kept / dump_id / CONTENT

    def new(self) -> Path:
        """Create a place for an upload. Raises OSError."""
        for directory in (self.root, self._kept, self._tmp):
            directory.mkdir(DIRECTORY_MODE, exist_ok=True)
        place = self._temporary()
        place.mkdir(DIRECTORY_MODE)
        return place

    def keep(self, place: Path, dump: Dump) -> None:
        """Keep an upload whose content is on the disk. Raises OSError."""
        about = {
            "size_bytes": dump.size_bytes,
            "created_at": dump.created_at,
            "label": dump.label,
        }
        with new_file(place / ABOUT) as file:
            file.write(orjson.dumps(about))
            os.fsync(file.fileno())
        _sync(place)
        self.touch(dump, place)
        place.rename(self._kept / dump.dump_id)
        _sync(self._kept)

    def touch(self, dump: Dump, place: Path | None = None) -> None:
        """Store when a dump was last used. Raises OSError."""
        used = clock.parse(dump.last_used_at).timestamp()
        os.utime(place or self._kept / dump.dump_id, (used, used), follow_symlinks=False)

    def withdraw(self, dump_id: str) -> Path:
        """Keep a dump no longer; return its place, to be removed. Raises OSError."""
        place = self._temporary()
        (self._kept / dump_id).rename(place)
        return place

    def remove(self, place: Path) -> None:
        """Remove an upload, or a dump that is not kept any more; log a failure."""
        try:
            for path in place.iterdir():
                path.unlink(missing_ok=True)
            place.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            _log.exception("cannot remove %s, the next start tries again", place)

    def sweep(self) -> None:
        """Remove the uploads that an earlier engine did not finish, and what it half deleted."""
        for place in self._tmp.iterdir() if self._tmp.is_dir() else ():
            if not place.name.startswith(f"{self._run}-"):
                self.remove(place)

    def _temporary(self) -> Path:
        return self._tmp / f"{self._run}-{secrets.token_hex(8)}"


def new_file(path: Path) -> FileIO:
    """Create a private file and open it for writing, unbuffered. Raises OSError."""
    return FileIO(os.open(path, _NEW_FILE, FILE_MODE), "wb")


def _read(place: Path) -> Dump:
    """Return the record of a dump. Raises OSError, ValueError, KeyError."""
    about = orjson.loads((place / ABOUT).read_bytes())
    size = (place / CONTENT).stat().st_size
    if size != about["size_bytes"]:
        raise ValueError(f"it has {size} bytes in place of {about['size_bytes']}")
    return Dump(
        dump_id=place.name,
        size_bytes=size,
        created_at=about["created_at"],
        last_used_at=clock.at(place.stat().st_mtime),
        label=about["label"],
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
