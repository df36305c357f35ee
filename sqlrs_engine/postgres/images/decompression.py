"""Decompression of layers: gzip, zstd or none, as their first bytes say.

The media type is not asked: some registries and builders state the wrong one.
"""

import sys
import zlib
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

try:  # there are packages for common processors; it takes 40 % of the time
    from isal import isal_zlib
except ImportError:
    _gzip: ModuleType = zlib
else:
    _gzip = isal_zlib

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports.zstd import ZstdDecompressor, ZstdError
else:
    from compression.zstd import ZstdDecompressor, ZstdError

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = tuple(bytes([0x50 + each, 0x2A, 0x4D, 0x18]) for each in range(16))
_MAGIC_BYTES = 4
_WITH_GZIP_HEADER = 31
# What a small piece of compressed bytes may become at once: a bomb is unpacked piece by piece.
_MAX_PIECE_BYTES = 1024 * 1024
_ERRORS: tuple[type[Exception], ...] = (zlib.error, _gzip.error, ZstdError)


class DamagedStreamError(ValueError):
    """The compressed bytes are damaged; the message says how."""


def decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of a layer in pieces of at most two megabytes or a chunk's length.

    Raises DamagedStreamError, and what the chunks raise.
    """
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= _MAGIC_BYTES:
            break
    if start.startswith(_GZIP):
        yield from _streams(start, chunks, _Gzip)
    elif start.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        yield from _streams(start, chunks, _Zstd)
    else:
        if start:
            yield start
        yield from chunks


def _streams(start: bytes, chunks: Iterator[bytes], kind: "type[_Gzip | _Zstd]") -> Iterator[bytes]:
    """Decompress streams in a row: builders that compress in parallel write many."""
    current = kind()
    begun = False
    data = start
    while True:
        while data or current.has_more:
            if not begun and not data.strip(b"\0"):
                data = b""  # the padding of tapes, at the end
                break
            begun = True
            try:
                piece = current.decompress(data)
            except _ERRORS as error:
                raise DamagedStreamError(f"it cannot be decompressed: {error}") from error
            data = b""
            if piece:
                yield piece
            if current.eof:
                data = current.unused
                current, begun = kind(), False
            elif not current.has_more:
                break
        more = next(chunks, None)
        if more is None:
            break
        data = more
    if begun:
        raise DamagedStreamError("it ends too early")


class _Gzip:
    """One gzip stream."""

    def __init__(self) -> None:
        self._stream = _gzip.decompressobj(_WITH_GZIP_HEADER)
        self._rest = b""

    @property
    def eof(self) -> bool:
        """Whether the stream is complete."""
        return bool(self._stream.eof)

    @property
    def unused(self) -> bytes:
        """The bytes after the stream."""
        return bytes(self._stream.unused_data)

    @property
    def has_more(self) -> bool:
        """Whether there is output for which no more input is needed."""
        return bool(self._rest) and not self.eof

    def decompress(self, data: bytes) -> bytes:
        """Return the next piece."""
        piece = self._stream.decompress(self._rest + data if self._rest else data, _MAX_PIECE_BYTES)
        self._rest = self._stream.unconsumed_tail
        return bytes(piece)


class _Zstd:
    """One zstd frame."""

    def __init__(self) -> None:
        self._stream = ZstdDecompressor()

    @property
    def eof(self) -> bool:
        """Whether the frame is complete."""
        return bool(self._stream.eof)

    @property
    def unused(self) -> bytes:
        """The bytes after the frame."""
        return bytes(self._stream.unused_data)

    @property
    def has_more(self) -> bool:
        """Whether there is output for which no more input is needed."""
        return not self._stream.eof and not self._stream.needs_input

    def decompress(self, data: bytes) -> bytes:
        """Return the next piece."""
        return bytes(self._stream.decompress(data, _MAX_PIECE_BYTES))
