r"""Patterns of names, as pg_dump and psql read them (PostgreSQL docs, psql, "Patterns").

Letters outside double quotes are folded to lower case, ``*`` and ``?`` are wildcards, a dot
separates the schema, and everything else is a regular expression in which ``$`` is literal.
"""

from dataclasses import dataclass

_SPECIAL = frozenset("|*+?()[]{}.^$\\")


@dataclass(frozen=True, slots=True)
class Pattern:
    """Regular expressions of PostgreSQL for a name and, if the pattern has one, its schema."""

    schema: str | None
    name: str


def parse(text: str) -> Pattern:
    """Return the expressions of a pattern; the name of a database before the schema is ignored."""
    parts = [_Part()]
    quoted = False
    characters = iter(_with_next(text))
    for character, following in characters:
        if character == '"':
            if quoted and following == '"':
                parts[-1].add('"')
                next(characters)
            else:
                quoted = not quoted
        elif quoted:
            parts[-1].add(f"\\{character}" if character in _SPECIAL else character)
        elif character == ".":
            parts.append(_Part())
        elif character in "*?":
            parts[-1].add(".*" if character == "*" else ".")
        elif character == "$":
            parts[-1].add("\\$")
        else:
            parts[-1].add(character.lower())
    schema = parts[-2].expression() if len(parts) > 1 else None
    return Pattern(schema, parts[-1].expression())


class _Part:
    def __init__(self) -> None:
        self._text = ""

    def add(self, text: str) -> None:
        self._text += text

    def expression(self) -> str:
        return f"^({self._text})$"


def _with_next(text: str) -> list[tuple[str, str]]:
    return list(zip(text, [*text[1:], ""], strict=False))
