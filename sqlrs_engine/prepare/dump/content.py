"""The content of compressed files, as a stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlrs_engine.errors import DumpUnusable
from sqlrs_engine.postgres.images.decompression import DamagedStreamError, decompressed

from .archive import DAMAGED

LZ4 = b"\x04\x22\x4d\x18"
_COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", LZ4)
_CHUNK_BYTES = 256 * 1024
_MAX_PIECE_BYTES = 1024 * 1024


def is_compressed(start: bytes) -> bool:
    """Return whether a file that starts like this is compressed by gzip, zstd or lz4."""
    return start.startswith(_COMPRESSED)


class Content:
    """The content of an open file, decompressed; ``position`` is how far the file has been read."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self.position = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield pieces of a few megabytes at most. Raises DumpUnusable, OSError."""
        chunks = self._chunks()
        first = next(chunks, b"")
        following = _followed_by(first, chunks)
        try:
            yield from _lz4(following) if first.startswith(LZ4) else decompressed(following)
        except DamagedStreamError as error:
            raise DumpUnusable(DAMAGED, f"{self._path}: {error}") from error

    def _chunks(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK_BYTES):
            self.position += len(chunk)
            yield chunk


def _followed_by(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _lz4(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress lz4's frames in a row. Raises DamagedStreamError."""
    from lz4.frame import LZ4FrameDecompressor

    frame = LZ4FrameDecompressor()
    begun = False
    for chunk in chunks:
        data = chunk
        while data or not frame.needs_input:
            try:
                piece = frame.decompress(data, max_length=_MAX_PIECE_BYTES)
            except RuntimeError as error:
                raise DamagedStreamError(f"it cannot be decompressed: {error}") from error
            begun, data = True, b""
            if piece:
                yield piece
            if frame.eof:
                data = frame.unused_data or b""
                frame, begun = LZ4FrameDecompressor(), False
    if begun:
        raise DamagedStreamError("it ends too early")
