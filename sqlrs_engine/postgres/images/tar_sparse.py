"""Sparse files in tar archives: the maps that say where the stored bytes belong."""

from collections.abc import Callable, Sequence

SparseMap = tuple[tuple[int, int], ...]
"""Places in the file and lengths of the stored pieces, in their order."""

_MAX_PIECES = 200_000
_OLD_FORMAT_FIRST = (386, 4)
_OLD_FORMAT_MORE = (0, 21)
_OLD_IS_EXTENDED = 482
_OLD_MORE_IS_EXTENDED = 504
_OLD_REAL_SIZE = slice(483, 495)
_PAIR_BYTES = 24


def read_sparse_header(header: bytes, next_block: Callable[[], bytes]) -> tuple[SparseMap, int]:
    """Return the map in a header of the old GNU format, and the size of the file.

    ``next_block`` returns the blocks that continue the map. Raises ValueError.
    """
    numbers = _old_pairs(header, *_OLD_FORMAT_FIRST)
    more = header[_OLD_IS_EXTENDED]
    while more:
        block = next_block()
        numbers += _old_pairs(block, *_OLD_FORMAT_MORE)
        more = block[_OLD_MORE_IS_EXTENDED]
        if len(numbers) > 2 * _MAX_PIECES:
            raise ValueError("a sparse map is too long")
    return sparse_pairs(numbers), _old_number(header[_OLD_REAL_SIZE])


def read_sparse_text(next_block: Callable[[], bytes]) -> SparseMap:
    """Return the map that precedes the content in the pax format 1.0: decimal numbers in lines."""
    text = bytearray()

    def numbers(count: int) -> list[int]:
        """Return the next ``count`` numbers."""
        nonlocal text
        lacking = count - text.count(b"\n")
        while lacking > 0:
            block = next_block()
            lacking -= block.count(b"\n")
            text += block
        lines = bytes(text).split(b"\n", count)
        text = bytearray(lines[count])
        if not all(line.isdigit() and len(line) <= 20 for line in lines[:count]):
            raise ValueError("a sparse map is damaged")
        return [int(line) for line in lines[:count]]

    (pieces,) = numbers(1)
    if pieces > _MAX_PIECES:
        raise ValueError("a sparse map is too long")
    return sparse_pairs(numbers(2 * pieces))


def sparse_pairs(numbers: Sequence[int]) -> SparseMap:
    """Return pairs of places and lengths. Raises ValueError unless the places ascend."""
    if len(numbers) % 2:
        raise ValueError("a sparse map is damaged")
    pairs = tuple(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for place, length in pairs:
        if place < end or length < 0:
            raise ValueError("a sparse map is damaged")
        end = place + length
    return pairs


def _old_pairs(block: bytes, start: int, count: int) -> list[int]:
    numbers: list[int] = []
    for place in range(start, start + count * _PAIR_BYTES, _PAIR_BYTES):
        if not block[place]:
            break
        numbers.append(_old_number(block[place : place + 12]))
        numbers.append(_old_number(block[place + 12 : place + 24]))
    return numbers


def _old_number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    return int(digits, 8) if digits else 0
