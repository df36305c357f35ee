"""The settings that decide how psql reads a script at a given point."""

import re
from dataclasses import dataclass

UTF8 = "UTF8"
OTHER = "other"  # any encoding in which a byte below 0x80 is always a character

# In these encodings, the second byte of a character may be a backslash (PostgreSQL docs,
# 24.3.1: client-only encodings). psql masks all but the first byte of a character before it
# looks at a line.
_MASKED = {
    "SJIS": re.compile(rb"([\x80-\xa0\xe0-\xff])[^\n]"),
    "BIG5": re.compile(rb"([\x80-\xff])[^\n]"),
    "JOHAB": re.compile(rb"([\x80-\x8e\x90-\xff])[^\n]|(\x8f)[^\n]{1,2}"),
    "GB18030": re.compile(rb"([\x80-\xff])(?:[0-9][^\n]{0,2}|[^\n])"),
}
_ENCODINGS = {
    "utf8": UTF8,
    "unicode": UTF8,
    **dict.fromkeys(
        ("sjis", "shiftjis", "mskanji", "win932", "windows932", "shiftjis2004"), "SJIS"
    ),
    **dict.fromkeys(("big5", "win950", "windows950"), "BIG5"),
    **dict.fromkeys(("gbk", "win936", "windows936", "uhc", "win949", "windows949"), "BIG5"),
    "johab": "JOHAB",
    "gb18030": "GB18030",
}


@dataclass(frozen=True, slots=True)
class LexerSettings:
    r"""The settings with which psql reads what follows; None means that only psql knows.

    ``encoding`` is the client's, as ``encoding_family`` returns it. ``active`` is False in an
    ``\if`` branch that is not taken. ``syntax_variables`` are the names and values of the
    variables whose value contains syntax, see ``quoting.contains_syntax``.
    """

    standard_conforming_strings: bool | None = True
    encoding: str | None = UTF8
    single_line: bool = False
    active: bool | None = True
    on_error_stop: bool | None = True
    syntax_variables: tuple[tuple[str, str], ...] = ()

    @property
    def certain(self) -> bool:
        """Whether a statement here is sent for sure, and nothing runs after it if it fails."""
        return self.active is True and self.on_error_stop is True


def encoding_family(name: str) -> str:
    """Return the family of an encoding: all its members are read in the same way.

    PostgreSQL compares encoding names by their letters and digits, regardless of case.
    """
    return _ENCODINGS.get("".join(filter(str.isalnum, name)).lower(), OTHER)


def masked(script: bytes, encoding: str | None) -> bytes:
    """Return a script of the same length that keeps only the bytes that psql looks at."""
    pattern = _MASKED.get(encoding or "")
    if pattern is None:
        return script
    return pattern.sub(
        lambda match: match.group()[:1] + b"\xff" * (match.end() - match.start() - 1), script
    )
