"""Decompression of layers: what the first bytes say, streams in a row, damage, bombs."""

import gzip
import random
import sys
from collections.abc import Callable, Iterator

import pytest

from sqlrs_engine.postgres.images import decompression
from sqlrs_engine.postgres.images.decompression import DamagedStreamError, decompressed

if sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

CONTENT = random.Random(1).randbytes(3000) * 50 + bytes(3_000_000) + b"end"
SKIPPABLE = b"\x5a\x2a\x4d\x18\x03\0\0\0any"
COMPRESSED = {
    "plain": CONTENT,
    "gzip": gzip.compress(CONTENT),
    "gzip in parts": gzip.compress(CONTENT[:9]) + gzip.compress(b"") + gzip.compress(CONTENT[9:]),
    "gzip with padding": gzip.compress(CONTENT) + bytes(2000),
    "zstd": zstd.compress(CONTENT),
    "zstd in parts": zstd.compress(CONTENT[:9]) + SKIPPABLE + zstd.compress(CONTENT[9:]),
    "zstd after a skippable frame": SKIPPABLE + zstd.compress(CONTENT),
}


@pytest.fixture(params=["isal", "zlib"], autouse=True)
def _library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its fast library, the engine uses the standard one."""
    if request.param == "zlib":
        monkeypatch.setattr(decompression, "_isal", None)


def chunks(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("size", [1000, 65536, 10**7])
@pytest.mark.parametrize("compressed", COMPRESSED)
def test_the_first_bytes_say_what_it_is(compressed: str, size: int) -> None:
    assert b"".join(decompressed(chunks(COMPRESSED[compressed], size))) == CONTENT


@pytest.mark.parametrize("content", [b"", b"a", b"abc", b"abcd", b"\x1f", bytes(10)])
def test_small_contents(content: bytes) -> None:
    assert b"".join(decompressed(chunks(content, 1))) == content


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_byte_at_a_time(compress: Callable[[bytes], bytes]) -> None:
    content = CONTENT[:2000]
    assert b"".join(decompressed(chunks(compress(content), 1))) == content


@pytest.mark.parametrize("compressed", ["gzip", "zstd", "gzip in parts", "zstd in parts"])
def test_a_stream_that_ends_early_is_damaged(compressed: str) -> None:
    content = COMPRESSED[compressed]
    with pytest.raises(DamagedStreamError, match="ends too early"):
        for _ in decompressed(chunks(content[: len(content) - 5], 1000)):
            pass


@pytest.mark.parametrize("compressed", ["gzip", "zstd"])
def test_changed_bytes_are_damage(compressed: str) -> None:
    content = bytearray(COMPRESSED[compressed])
    content[8:48] = b"\xff" * 40
    with pytest.raises(DamagedStreamError, match=r"cannot be decompressed|ends too early"):
        for _ in decompressed(chunks(bytes(content), 1000)):
            pass


def test_what_follows_a_stream_must_be_one() -> None:
    with pytest.raises(DamagedStreamError, match="cannot be decompressed"):
        for _ in decompressed(chunks(gzip.compress(b"x" * 100) + b"garbage" * 10, 1000)):
            pass


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_bomb_goes_off_in_small_pieces(compress: Callable[[bytes], bytes]) -> None:
    bomb = compress(bytes(30_000_000))
    sizes = [len(piece) for piece in decompressed(chunks(bomb, 65536))]
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 2 * 1024 * 1024
