"""What scripts are taken apart into."""

from collections.abc import Generator
from dataclasses import dataclass

from sqlrs_engine.prepare.psql.lexer.settings import ReadingMode

__all__ = ["Command", "Doubt", "Part", "Parts", "Statement", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A stretch of script that reads no file: the SHA-256 of its bytes."""

    digest: str


@dataclass(frozen=True, slots=True)
class Command:
    r"""A backslash command, its arguments unparsed; ``line`` counts from 1."""

    name: str
    arguments: str
    line: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that is sent and may change how the rest is read, or has the server read.

    It is part of a ``Text``. Comments are left out of ``text``.
    """

    text: str
    line: int
    server: bool


@dataclass(frozen=True, slots=True)
class Doubt:
    """A place from where only psql knows how the script is read."""

    reason: str
    line: int


Part = Text | Command | Statement | Doubt
Parts = Generator[Part, ReadingMode, None]
