"""Events in the database: blocks of consecutive lines, joined by newlines and compressed.

A row per line would take several times the space. Small batches join the last block as long as it
is small.
"""

import zlib
from collections.abc import Sequence
from typing import Any

from sqlrs_engine.errors import Conflict

from .database import Session
from .entities import Entities
from .hot_reads import EVENT_BLOCKS, LAST_EVENT_BLOCK

# Level 1: three times as fast as the default, and nearly as small for lines like these.
_LEVEL = 1
_MOST_BYTES = 1024 * 1024
_SMALL_LINES, _SMALL_BYTES = 256, 8 * 1024
_BLOCKS_AT_ONCE = 16


def append(
    session: Session, entities: Entities, job_id: str, first: int, lines: Sequence[bytes]
) -> None:
    """Store lines from index ``first`` in the transaction of a session.

    Raises Conflict when one of them is there already.
    """
    if not lines:
        return
    blocks = _blocks(lines)
    last = session.row(LAST_EVENT_BLOCK, job_id=job_id)
    if last is not None:
        start, count, packed = last
        if first < start + count:
            raise Conflict("the job has this event already", f"{job_id}: {first}")
        if first == start + count and count < _SMALL_LINES and len(packed) < _SMALL_BYTES:
            first = start
            (_, begun), *blocks = _blocks([*unpack(packed), *lines])
            entities.EventBlock[job_id, start].set(count=len(begun), lines=pack(begun))
    for offset, block in blocks:
        entities.EventBlock(job=job_id, first=first + offset, count=len(block), lines=pack(block))


def read(session: Session, job_id: str, start: int, limit: int) -> list[bytes]:
    """Return up to ``limit`` lines from index ``start``."""
    found: list[bytes] = []
    while len(found) < limit:
        at = start + len(found)
        rows = session.rows(EVENT_BLOCKS, job_id=job_id, start=at, most=_BLOCKS_AT_ONCE)
        before = len(found)
        for first, packed in rows:
            found += unpack(packed)[max(0, at - first) :]
            if len(found) >= limit:
                break
        if len(found) == before:
            break
    return found[:limit]


def pack(lines: Sequence[bytes]) -> bytes:
    """Return a block of lines, none of which holds a newline."""
    return zlib.compress(b"\n".join(lines), _LEVEL)


def unpack(block: bytes) -> list[bytes]:
    """Return the lines of a block."""
    return zlib.decompress(block).split(b"\n")


def _blocks(lines: Sequence[bytes]) -> list[tuple[int, Sequence[bytes]]]:
    """Cut lines into blocks, each with the number of lines before it."""
    blocks: list[tuple[int, Sequence[bytes]]] = []
    begin = size = 0
    for number, line in enumerate(lines):
        if size and size + len(line) > _MOST_BYTES:
            blocks.append((begin, lines[begin:number]))
            begin, size = number, 0
        size += len(line) + 1
    blocks.append((begin, lines[begin:]))
    return blocks


class Packing:
    """The SQL aggregate ``pack(position, line)``, which makes a block of single lines."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []

    def step(self, position: int, line: bytes) -> None:
        """Add a line; they may come in any order."""
        self._lines.append((position, line))

    def finalize(self) -> Any:
        """Return the block."""
        return pack([line for _, line in sorted(self._lines)])
