"""The output of a program, passed on as it arrives: by lines or as pieces of text."""

import codecs
from collections.abc import Callable
from typing import Protocol

OnLine = Callable[[str], None]
OnText = Callable[[str], None]

LONGEST_LINE = 1024 * 1024
"""Bytes; a longer line is passed on in pieces."""


class Output(Protocol):
    """Receives what is read from one pipe."""

    def add(self, chunk: bytes) -> None:
        """Receive the next bytes."""

    def end(self) -> None:
        """Receive the end: nothing follows."""


class Lines:
    """Assembles the lines of a pipe: UTF-8, without their ends, other bytes replaced."""

    def __init__(self, on_line: OnLine, *, longest: int = LONGEST_LINE) -> None:
        """Pass lines to ``on_line``, those of more than ``longest`` bytes in pieces."""
        self._on_line = on_line
        self._longest = longest
        self._rest = bytearray()

    def add(self, chunk: bytes) -> None:
        """Pass on the lines that are complete."""
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._rest += line
            self._on_line(_decode_line(self._rest))
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > self._longest:
            # Not within a character: where one begins, there is a byte other than 10xxxxxx.
            cut = max(len(self._rest) - 4, 0)
            while cut < len(self._rest) and self._rest[cut] & 0xC0 == 0x80:
                cut += 1
            kept = self._rest[cut:]
            del self._rest[cut:]
            self.end()
            self._rest = kept

    def end(self) -> None:
        """Pass on a last line that has no end."""
        if self._rest:
            self._on_line(_decode_line(self._rest))
            self._rest.clear()


def _decode_line(line: bytearray) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")


class Text:
    """Decodes a pipe as UTF-8, other bytes replaced; a character may come in two reads."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self._decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def add(self, chunk: bytes) -> None:
        """Pass on the characters that are complete."""
        self._pass_on(self._decode(chunk))

    def end(self) -> None:
        """Pass on a character that was cut off, as its replacement."""
        self._pass_on(self._decode(b"", final=True))

    def _pass_on(self, text: str) -> None:
        if text:
            self._on_text(text)
