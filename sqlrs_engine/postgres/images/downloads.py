"""Downloads of layers that survive interruptions: of connections, of pulls, of the machine."""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sqlrs_engine.errors import ImageCorrupt, RegistryUnavailable
from sqlrs_engine.host.disk_space import is_full

from .manifests import Descriptor
from .registry_errors import interrupted, wrong_digest

_CHUNK_BYTES = 1024 * 1024
_GATHERED_BYTES = 512 * 1024
_ATTEMPTS_WITHOUT_PROGRESS = 3
_ATTEMPTS = 50

_log = logging.getLogger(__name__)

OnBytes = Callable[[int], None]


class BlobSource(Protocol):
    """Where blobs come from; see ``RegistryClient``."""

    def blob(self, descriptor: Descriptor, offset: int) -> Generator[bytes, None, None]:
        """Yield a blob from ``offset`` on; its digest is for the caller to check."""


def downloaded(
    source: BlobSource, descriptor: Descriptor, partial: Path, on_bytes: OnBytes
) -> Generator[bytes, None, None]:
    """Yield a blob, which the file ``partial`` keeps on the way; in the end, its digest is right.

    What ``partial`` has already comes from there. The caller holds the lock of the blob, and
    removes the file when it needs it no more. ``on_bytes`` gets the length of each chunk.

    Raises ImageCorrupt when the digest is wrong, what ``source`` raises when several attempts in a
    row have brought nothing, OSError.
    """
    digest = hashlib.sha256()
    try:
        with partial.open("a+b", buffering=0) as file:
            for chunk in _gathered(_kept_and_new(source, descriptor, file), on_bytes):
                digest.update(chunk)
                yield chunk
        found = f"sha256:{digest.hexdigest()}"
        if found != descriptor.digest:
            raise wrong_digest("a layer", descriptor.digest, found)
    except (ImageCorrupt, OSError) as error:
        # A part of something else is of no use, and on a full disk its space is.
        if isinstance(error, ImageCorrupt) or is_full(error):
            partial.unlink(missing_ok=True)
        raise


def _gathered(chunks: Iterator[bytes], on_bytes: OnBytes) -> Iterator[bytes]:
    """Yield larger chunks, which cost less to pass on; ``on_bytes`` counts them as they come."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        on_bytes(len(chunk))
        waiting.append(chunk)
        size += len(chunk)
        if size >= _GATHERED_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _kept_and_new(source: BlobSource, descriptor: Descriptor, file: BinaryIO) -> Iterator[bytes]:
    kept = file.seek(0, 2)
    if kept > descriptor.size:
        file.truncate(0)
        kept = 0
    file.seek(0)
    left = kept
    while left:
        chunk = file.read(min(_CHUNK_BYTES, left))
        if not chunk:
            break
        left -= len(chunk)
        yield chunk
    for chunk in _from(source, descriptor, kept - left):
        _write(file, chunk)
        yield chunk


def _from(source: BlobSource, descriptor: Descriptor, offset: int) -> Iterator[bytes]:
    """Yield a blob from ``offset`` on; a connection that breaks off is made anew."""
    fruitless = 0
    for attempt in range(_ATTEMPTS):
        begun = offset
        if offset == descriptor.size:
            return
        try:
            with contextlib.closing(source.blob(descriptor, offset)) as chunks:
                for chunk in chunks:
                    offset += len(chunk)
                    if offset > descriptor.size:
                        raise wrong_digest("a layer", f"{descriptor.size} bytes", "more")
                    yield chunk
            if offset < descriptor.size:
                raise interrupted("the registry", f"{offset} of {descriptor.size} bytes have come")
        except RegistryUnavailable as error:
            fruitless = 0 if offset > begun else fruitless + 1
            if fruitless == _ATTEMPTS_WITHOUT_PROGRESS or attempt == _ATTEMPTS - 1:
                raise
            _log.info("going on with %s at byte %d: %s", descriptor.digest, offset, error)


def _write(file: BinaryIO, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[file.write(view) :]
