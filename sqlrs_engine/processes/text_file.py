"""Text as a file: the standard input of a client program."""

import os
from typing import IO

_SLICE_CHARS = 1024 * 1024


def text_file(text: str) -> IO[bytes]:
    """Return an anonymous file that holds ``text`` in UTF-8, read from its beginning."""
    file = os.fdopen(os.memfd_create("sqlrs-stdin", os.MFD_CLOEXEC), "w+b")
    for start in range(0, len(text), _SLICE_CHARS):
        # Lone surrogates stand for bytes that are not UTF-8.
        file.write(text[start : start + _SLICE_CHARS].encode("utf-8", "surrogateescape"))
    file.seek(0)
    return file
