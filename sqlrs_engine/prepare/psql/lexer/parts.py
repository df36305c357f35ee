"""The parts that a script is split into."""

from collections.abc import Generator
from dataclasses import dataclass

from .settings import LexerSettings


@dataclass(frozen=True, slots=True)
class Text:
    """A stretch of script that reads no file: the SHA-256 of its bytes."""

    digest: str


@dataclass(frozen=True, slots=True)
class Command:
    r"""A backslash command with its unparsed arguments; ``line`` counts from 1."""

    name: str
    arguments: str
    line: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may change how the rest is read, or that accesses files on the server.

    It is also part of a ``Text``. ``text`` omits comments. ``server_files`` is whether the
    server reads or writes files for it.
    """

    text: str
    line: int
    server_files: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """A place after which only psql knows how the script is read."""

    reason: str
    line: int


Part = Text | Command | Statement | Doubt
# The caller sends back the settings that are in force after each part.
Parts = Generator[Part, LexerSettings, None]


def decoded(script: bytes) -> str:
    """Return a piece of a script as text; bytes that are not UTF-8 become lone surrogates."""
    return script.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    """Return the bytes that ``decoded`` made text of."""
    return text.encode("utf-8", "surrogateescape")
