"""The contents of clients' files, stored by their SHA-256.

::

    blobs/sha256/<2 digits>/<64 digits>     contents
    blobs/tmp/<run>-<random>                uploads under way

Writes are not synced to the disk, so every read verifies the content. One that a power failure has
damaged counts as missing, and the client is asked to upload it again.
"""

import hashlib
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from sqlrs_engine.errors import InvalidArgument, SourceBlobTooLarge
from sqlrs_engine.host.disk_space import space_on

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_DIGEST = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024 * 1024

_log = logging.getLogger(__name__)


class Upload:
    """An upload in progress; leaving the ``with`` block before ``finish`` discards it."""

    def __init__(self, blobs: "Blobs", digest: str, max_bytes: int) -> None:
        self._blobs = blobs
        self._digest = digest
        self._max_bytes = max_bytes
        self._seen = hashlib.sha256()
        self._size = 0
        self._file, self._path = blobs.temporary()

    def __enter__(self) -> "Upload":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def write(self, chunk: bytes) -> None:
        """Append a chunk. Raises SourceBlobTooLarge, StorageFull."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise too_large(self._max_bytes)
        self._seen.update(chunk)
        with space_on(self._path.parent):
            self._file.write(chunk)

    def finish(self) -> None:
        """Store the content. Raises InvalidArgument when its digest differs, StorageFull."""
        if self._seen.hexdigest() != self._digest:
            raise InvalidArgument(
                "the body does not match the digest: send the file that the digest names",
                f"the body has {self._size} bytes and the SHA-256 {self._seen.hexdigest()}",
            )
        with space_on(self._path.parent):
            self._file.close()
            self._blobs.take(self._path, self._digest)


class Blobs:
    """Uploaded contents in one directory; safe to use from any thread."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._root = directory / "sha256"
        self._tmp = directory / "tmp"
        self._clock = clock
        self._run = secrets.token_hex(8)
        self._lock = threading.Lock()  # keeps `use` and `collect` apart

    def receive(self, digest: str, max_bytes: int, declared: int | None = None) -> Upload:
        """Begin an upload; ``declared`` is its size in bytes if the client declared one.

        Raises InvalidArgument, SourceBlobTooLarge, StorageFull.
        """
        if _DIGEST.fullmatch(digest) is None:
            raise InvalidArgument(
                "invalid digest: write a SHA-256 as 64 hexadecimal digits", digest[:100]
            )
        if declared is not None and declared > max_bytes:
            raise too_large(max_bytes)
        return Upload(self, digest, max_bytes)

    def use(self, digest: str) -> bool:
        """Return whether a content is stored, and if so, mark it as used now."""
        with self._lock:
            return self._touch(digest)

    def read(self, digest: str) -> bytes | None:
        """Return a content, None if it is missing or damaged; a damaged one is removed."""
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest() != digest:
            self._drop_damaged(digest)
            return None
        return content

    def copy(self, digest: str, target: BinaryIO) -> bool:
        """Copy a content; return False if it is missing or damaged, as in ``read``."""
        try:
            file = self._path(digest).open("rb")
        except FileNotFoundError:
            return False
        with file:
            seen = _copy(file, target)
        if seen != digest:
            self._drop_damaged(digest)
            return False
        return True

    def collect(self, keep: Callable[[], Collection[str]], older_than: float) -> int:
        """Remove the contents not used for ``older_than`` seconds; return how many were removed.

        Contents that ``keep`` returns stay. It is called only if there is something to remove, and
        may omit contents that are used after the call, because their age protects them.
        """
        limit = self._clock() - older_than
        old = [path for path in self._all() if _used(path) < limit]
        if not old:
            return 0
        kept = set(keep())
        removed = 0
        for path in old:
            with self._lock:
                if path.name not in kept and _used(path) < limit:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def sweep(self) -> None:
        """Remove uploads that an earlier engine did not finish."""
        if self._tmp.is_dir():
            for path in self._tmp.iterdir():
                if not path.name.startswith(f"{self._run}-"):
                    path.unlink(missing_ok=True)

    def temporary(self) -> tuple[BinaryIO, Path]:
        """Create a file for an upload, and open it. Raises StorageFull."""
        with space_on(self._tmp):
            self._tmp.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
            path = self._tmp / f"{self._run}-{secrets.token_hex(8)}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.fdopen(os.open(path, flags, FILE_MODE), "wb"), path

    def take(self, path: Path, digest: str) -> None:
        """Move a finished upload to the place of its digest."""
        target = self._path(digest)
        target.parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        with self._lock:
            path.rename(target)
            self._touch(digest)

    def _path(self, digest: str) -> Path:
        return self._root / digest[:2] / digest

    def _touch(self, digest: str) -> bool:
        now = self._clock()
        try:
            os.utime(self._path(digest), (now, now), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _all(self) -> Iterator[Path]:
        for path in self._root.glob("??/*"):
            if _DIGEST.fullmatch(path.name):
                yield path

    def _drop_damaged(self, digest: str) -> None:
        _log.error("the uploaded content %s is damaged and is removed", digest)
        with self._lock:
            self._path(digest).unlink(missing_ok=True)


def too_large(max_bytes: int) -> SourceBlobTooLarge:
    """Return the error for a file over the limit."""
    return SourceBlobTooLarge(
        f"the file is larger than {max_bytes} bytes",
        "raise sources.blobs.maxBytes, or split the file",
    )


def _used(path: Path) -> float:
    """Return when a content was last used; infinity if it is gone, so that it is left alone."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _copy(source: BufferedReader, target: BinaryIO) -> str:
    seen = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        seen.update(chunk)
        target.write(chunk)
    return seen.hexdigest()
