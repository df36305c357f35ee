"""How psql reads a script at a point of it: what was set before decides about what follows."""

import re
from dataclasses import dataclass

UTF8 = "UTF8"
OTHER = "other"  # any encoding in which a byte below 0x80 is always a character

# The second bytes of these may be backslashes (PostgreSQL docs, 24.3.1: client-only
# encodings). psql masks all but a character's first byte before it looks at a line.
_MASKED = {
    "SJIS": re.compile(rb"([\x80-\xa0\xe0-\xff])[^\n]"),
    "BIG5": re.compile(rb"([\x80-\xff])[^\n]"),
    "JOHAB": re.compile(rb"([\x80-\x8e\x90-\xff])[^\n]|(\x8f)[^\n]{1,2}"),
    "GB18030": re.compile(rb"([\x80-\xff])(?:[0-9][^\n]{0,2}|[^\n])"),
}
_NAMES = {
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
class ReadingMode:
    r"""The settings that decide how text is read; None is what only psql knows.

    ``strings`` is ``standard_conforming_strings``, ``encoding`` the client's (see
    ``encoding_named``), ``stops`` ``ON_ERROR_STOP``. ``active`` is False in a branch of an
    ``\if`` that is not taken. ``texts`` are variables whose values are more than words.
    """

    strings: bool | None = True
    encoding: str | None = UTF8
    singleline: bool = False
    active: bool | None = True
    stops: bool | None = True
    texts: tuple[tuple[str, str], ...] = ()

    @property
    def certain(self) -> bool:
        """Whether a statement here is sent, and nothing follows it when it fails."""
        return self.active is True and self.stops is True


def encoding_named(name: str) -> str:
    """Return which way of reading an encoding means; PostgreSQL compares names this way."""
    return _NAMES.get("".join(filter(str.isalnum, name)).lower(), OTHER)


def masked(script: bytes, encoding: str | None) -> bytes:
    """Return a script of the same length in which only what psql looks at is left."""
    pattern = _MASKED.get(encoding or "")
    if pattern is None:
        return script
    return pattern.sub(
        lambda match: match.group()[:1] + b"\xff" * (match.end() - match.start() - 1), script
    )


def truth(text: str) -> bool | None:
    """Return what psql takes a text for where it wants a boolean; None when for neither."""
    given = text.lower()
    if given and any(word.startswith(given) for word in ("true", "yes")):
        return True
    if given and any(word.startswith(given) for word in ("false", "no")):
        return False
    return {"on": True, "1": True, "of": False, "off": False, "0": False}.get(given)
