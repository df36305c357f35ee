r"""The arguments of ``\copy``, which has rules of its own (psql's copy.c)."""

import re
from dataclasses import dataclass
from typing import Literal

_STREAMS = ("stdin", "stdout")
_OWN_STREAMS = ("pstdin", "pstdout")

_NAME = re.compile(r'[ \t\n\r]*("(?:[^"]|"")*"?|[.,()]|[^\s.,()"]+)')
_QUERY = re.compile(r"""[ \t\n\r]*("(?:[^"]|"")*"?|'(?:[^']|'')*'?|[.,()]|[^\s.,()"']+)""")
_FILE = re.compile(r"[ \t\n\r]*('(?:[^']|'')*'?|;|[^\s;']+)")


@dataclass(frozen=True, slots=True)
class Copy:
    r"""What a ``\copy`` reads or writes: a file, a program, or a stream (neither of them).

    ``own_stream`` is psql's standard input or output, where the script is not. ``rest`` is
    the text before and after the name of the file.
    """

    direction: Literal["from", "to"]
    file: str | None
    program: str | None
    own_stream: bool
    rest: tuple[str, str]

    @property
    def inline(self) -> bool:
        """Whether the data are the lines that follow in the script."""
        return (self.direction, self.file, self.program) == ("from", None, None) and (
            not self.own_stream
        )


def parse_copy(arguments: str) -> Copy | None:
    r"""Take the arguments of a ``\copy`` apart; None when psql would refuse them.

    psql expands no variables here, and knows no escapes.
    """
    position = 0

    def next_word(pattern: "re.Pattern[str]" = _NAME) -> str:
        nonlocal position
        match = pattern.match(arguments, position)
        if match is None:
            position = len(arguments)
            return ""
        position = match.end()
        return match[1]

    word = next_word()
    if word.lower() == "binary":
        following = position
        word = next_word()
        if word.lower() in ("from", "to"):  # a table of that name
            position, word = following, "binary"
    if word == "(":
        depth = 1
        while depth:
            word = next_word(_QUERY)
            if not word:
                return None
            depth += {"(": 1, ")": -1}.get(word, 0)
    elif not word:
        return None
    word = next_word()
    if word == ".":
        next_word()
        word = next_word()
    if word == "(":
        for each in iter(next_word, ")"):
            if not each:
                return None
        word = next_word()
    direction = word.lower()
    if direction not in ("from", "to"):
        return None
    word = next_word(_FILE)
    if not word or word == ";":
        return None
    rest = arguments[: position - len(word)], arguments[position:]
    lower = word.lower()
    way: Literal["from", "to"] = "from" if direction == "from" else "to"
    if lower == "program":
        program = next_word(_FILE)
        if not program.startswith("'"):
            return None
        return Copy(way, None, _unquoted(program), own_stream=False, rest=rest)
    if lower in _STREAMS or lower in _OWN_STREAMS:
        return Copy(way, None, None, own_stream=lower in _OWN_STREAMS, rest=rest)
    return Copy(way, _unquoted(word), None, own_stream=False, rest=rest)


def _unquoted(word: str) -> str:
    if not word.startswith("'"):
        return word
    return word[1:].removesuffix("'").replace("''", "'")
