"""NDJSON: one JSON document a line, each line ended by a newline.

The lines of a stream can be read one by one as they come, which a JSON array cannot.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

MEDIA_TYPE = "application/x-ndjson"


def encode_line(value: Any) -> bytes:
    """Return one line, its newline included.

    ``value`` is made of JSON's own types. Newlines within strings are escaped by JSON.
    """
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def encode(values: Iterable[Any]) -> bytes:
    """Return the lines of many values; nothing for none."""
    return b"".join(map(encode_line, values))


def join(lines: Sequence[bytes]) -> bytes:
    """Return lines that are encoded already, but not ended, as one piece of a stream."""
    return b"\n".join(lines) + b"\n" if lines else b""
