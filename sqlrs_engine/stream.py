"""NDJSON: one JSON document per line, each line ended by a newline.

Lines can be read one by one as they arrive; the elements of a JSON array cannot. Unicode's line
separators are escaped, because many clients split lines there as well.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

MEDIA_TYPE = "application/x-ndjson"

# NEXT LINE, LINE SEPARATOR, PARAGRAPH SEPARATOR; JSON itself escapes all others.
_LINE_ENDS = {end.encode(): b"\\u%04x" % ord(end) for end in "\x85\u2028\u2029"}


def encode_line(value: Any) -> bytes:
    """Return one line, its newline included. ``value`` consists of JSON types."""
    return one_line_each(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def one_line_each(encoded: bytes) -> bytes:
    """Return encoded lines with every character escaped that some readers take for a line end."""
    for end, escape in _LINE_ENDS.items():
        encoded = encoded.replace(end, escape)  # bytes of UTF-8, and only within strings
    return encoded


def encode(values: Iterable[Any]) -> bytes:
    """Return the lines of many values; nothing for none."""
    return b"".join(map(encode_line, values))


def join(lines: Sequence[bytes]) -> bytes:
    """Return encoded lines, which lack their newlines, as one piece of a stream."""
    return b"\n".join(lines) + b"\n" if lines else b""
