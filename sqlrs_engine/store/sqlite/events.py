"""Events in the database: blocks of consecutive lines, joined by newlines and compressed.

A line of its own takes several times as much. What comes in small batches goes into the
last block as long as that is small.
"""

import zlib
from collections.abc import Sequence
from typing import Any

from sqlrs_engine.errors import Conflict

from .database import Session

# Level 1: three times as quick as the usual one, and nearly as small for lines like these.
_LEVEL = 1
_MOST_BYTES = 1024 * 1024
_SMALL_LINES, _SMALL_BYTES = 256, 8 * 1024
_BLOCKS_AT_ONCE = 16

_LAST = """\
SELECT first, count, lines FROM event_blocks
 WHERE job_id = $job_id ORDER BY first DESC LIMIT 1
"""
_FROM = f"""\
SELECT first, lines FROM event_blocks
 WHERE job_id = $job_id AND first >= coalesce(
    (SELECT max(first) FROM event_blocks WHERE job_id = $job_id AND first <= $start), 0)
 ORDER BY first LIMIT {_BLOCKS_AT_ONCE}
"""  # noqa: S608  (put together of constants)


def append(session: Session, job_id: str, first: int, lines: Sequence[bytes]) -> None:
    """Store lines from index ``first``. Raises Conflict when one of them is there already."""
    if not lines:
        return
    last = session.row(_LAST, job_id=job_id)
    if last is not None:
        start, count, packed = last
        if first < start + count:
            raise Conflict("the job has this event already", f"{job_id}: {first}")
        if first == start + count and count < _SMALL_LINES and len(packed) < _SMALL_BYTES:
            session.execute(
                "DELETE FROM event_blocks WHERE job_id = ? AND first = ?", (job_id, start)
            )
            first, lines = start, [*unpack(packed), *lines]
    session.execute_many(
        "INSERT INTO event_blocks (job_id, first, count, lines) VALUES (?, ?, ?, ?)",
        ((job_id, first + offset, len(block), pack(block)) for offset, block in _blocks(lines)),
    )


def read(session: Session, job_id: str, start: int, limit: int) -> list[bytes]:
    """Return up to ``limit`` lines from index ``start``."""
    found: list[bytes] = []
    while len(found) < limit:
        at = start + len(found)
        rows = session.rows(_FROM, job_id=job_id, start=at)
        before = len(found)
        for first, packed in rows:
            found += unpack(packed)[max(0, at - first) :]
            if len(found) >= limit:
                break
        if len(found) == before:
            break
    return found[:limit]


def count(session: Session, job_id: str) -> int:
    """Return the index after the last line's."""
    last = session.row(
        "SELECT max(first + count) FROM event_blocks WHERE job_id = $job_id", job_id=job_id
    )
    return int(last or 0)


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
    """The SQL aggregate ``pack(position, line)``, by which lines of their own become a block."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, bytes]] = []

    def step(self, position: int, line: bytes) -> None:
        """Take a line, in whatever order they come."""
        self._lines.append((position, line))

    def finalize(self) -> Any:
        """Return the block."""
        return pack([line for _, line in sorted(self._lines)])
