r"""The arguments of ``\copy``, which has its own rules (psql's copy.c)."""

import re
from dataclasses import dataclass
from typing import Literal

Direction = Literal["from", "to"]

_STREAMS = ("stdin", "stdout")
_OWN_STREAMS = ("pstdin", "pstdout")

_NAME = re.compile(r'[ \t\n\r]*("(?:[^"]|"")*"?|[.,()]|[^\s.,()"]+)')
_QUERY = re.compile(r"""[ \t\n\r]*("(?:[^"]|"")*"?|'(?:[^']|'')*'?|[.,()]|[^\s.,()"']+)""")
_FILE = re.compile(r"[ \t\n\r]*('(?:[^']|'')*'?|;|[^\s;']+)")


@dataclass(frozen=True, slots=True)
class Copy:
    r"""The source or target of a ``\copy``: a file, a program, or else a stream.

    ``own_stream`` is whether the stream is psql's standard input or output rather than the
    script's. ``rest`` is the text before and after the file name.
    """

    direction: Direction
    file: str | None
    program: str | None
    own_stream: bool
    rest: tuple[str, str]

    @property
    def inline(self) -> bool:
        """Whether the data is in the lines that follow in the script."""
        return (self.direction, self.file, self.program) == ("from", None, None) and (
            not self.own_stream
        )


def parse_copy(arguments: str) -> Copy | None:
    r"""Parse the arguments of a ``\copy``; return None if psql would refuse them.

    psql expands no variables here and has no escapes.
    """
    pieces = _Pieces(arguments)
    direction = _direction(pieces)
    if direction is None:
        return None
    target = pieces.next(_FILE)
    if not target or target == ";":
        return None
    rest = arguments[: pieces.position - len(target)], arguments[pieces.position :]
    lower = target.lower()
    if lower == "program":
        program = pieces.next(_FILE)
        if not program.startswith("'"):
            return None
        return Copy(direction, None, _unquoted(program), own_stream=False, rest=rest)
    if lower in _STREAMS or lower in _OWN_STREAMS:
        return Copy(direction, None, None, own_stream=lower in _OWN_STREAMS, rest=rest)
    return Copy(direction, _unquoted(target), None, own_stream=False, rest=rest)


class _Pieces:
    """The pieces of some arguments, one after the other."""

    def __init__(self, arguments: str) -> None:
        self.position = 0
        self._arguments = arguments

    def next(self, pattern: "re.Pattern[str]" = _NAME) -> str:
        """Return the next piece, an empty string at the end."""
        match = pattern.match(self._arguments, self.position)
        if match is None:
            self.position = len(self._arguments)
            return ""
        self.position = match.end()
        return match[1]


def _direction(pieces: _Pieces) -> Direction | None:
    """Skip the table with its columns, or the query, and return the direction after it."""
    piece = pieces.next()
    if piece.lower() == "binary":
        following = pieces.position
        piece = pieces.next()
        if piece.lower() in ("from", "to"):  # a table of that name
            pieces.position, piece = following, "binary"
    if piece == "(":
        depth = 1
        while depth:
            piece = pieces.next(_QUERY)
            if not piece:
                return None
            depth += {"(": 1, ")": -1}.get(piece, 0)
    elif not piece:
        return None
    piece = pieces.next()
    if piece == ".":
        pieces.next()
        piece = pieces.next()
    if piece == "(":
        for column in iter(pieces.next, ")"):
            if not column:
                return None
        piece = pieces.next()
    directions: dict[str, Direction] = {"from": "from", "to": "to"}
    return directions.get(piece.lower())


def _unquoted(piece: str) -> str:
    if not piece.startswith("'"):
        return piece
    return piece[1:].removesuffix("'").replace("''", "'")
