"""Decompression of layers: gzip, zstd or none, as their first bytes say.

The media type is not asked: some registries and builders state the wrong one.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

try:  # there are packages for common processors; it takes a third of the time
    from isal import igzip_lib as _igzip
except ImportError:
    _isal: ModuleType | None = None
else:
    _isal = _igzip

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
_ERRORS: tuple[type[Exception], ...] = (
    zlib.error,
    ZstdError,
    *([_isal.IsalError] if _isal else []),
)


class DamagedStreamError(ValueError):
    """The compressed bytes are damaged; the message says how."""


class _Stream(Protocol):
    """One compressed stream, as decompressors of the standard library are."""

    @property
    def eof(self) -> bool:
        """Whether the stream is complete."""

    @property
    def needs_input(self) -> bool:
        """Whether there is no output without more input."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return the next piece."""


def decompressed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the content of a layer in pieces of at most one mebibyte or a chunk's length.

    Raises DamagedStreamError, and what the chunks raise.
    """
    start = b""
    for chunk in chunks:
        start += chunk
        if len(start) >= _MAGIC_BYTES:
            break
    if start.startswith(_GZIP):
        yield from _streams(start, chunks, _gzip_stream)
    elif start.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        yield from _streams(start, chunks, ZstdDecompressor)
    else:
        if start:
            yield start
        yield from chunks


def _streams(
    start: bytes, chunks: Iterator[bytes], begin: Callable[[], _Stream]
) -> Iterator[bytes]:
    """Decompress streams in a row: builders that compress in parallel write many."""
    current = begin()
    begun = False
    data = start
    while True:
        while data or _has_more(current):
            if not begun and not data.strip(b"\0"):
                data = b""  # the padding of tapes, at the end
                break
            begun = True
            try:
                piece = current.decompress(data, _MAX_PIECE_BYTES)
            except _ERRORS as error:
                raise DamagedStreamError(f"it cannot be decompressed: {error}") from error
            data = b""
            if piece:
                yield piece
            if current.eof:
                data = current.unused_data
                current, begun = begin(), False
        more = next(chunks, None)
        if more is None:
            break
        data = more
    if begun:
        raise DamagedStreamError("it ends too early")


def _has_more(stream: _Stream) -> bool:
    """Return whether there may be output for which no more input is needed."""
    return not stream.eof and not stream.needs_input


def _gzip_stream() -> _Stream:
    if _isal is None:
        return _ZlibStream()
    stream: _Stream = _isal.IgzipDecompressor(flag=_isal.DECOMP_GZIP)
    return stream


class _ZlibStream:
    """One gzip stream, read by the standard library."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_WITH_GZIP_HEADER)
        self._rest = b""

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._stream.decompress(self._rest + data if self._rest else data, max_length)
        self._rest = self._stream.unconsumed_tail
        return piece
