"""Scripts: taken apart once, and again only where the session reads them in another way."""

import hashlib
from collections.abc import Callable, Iterator

from sqlrs_engine.prepare.psql.lexer.parts import Command, Doubt, Part, Parts, Statement, Text
from sqlrs_engine.prepare.psql.lexer.scanner import hides_commands, lex, matters
from sqlrs_engine.prepare.psql.lexer.settings import ReadingMode

__all__ = ["Command", "Doubt", "Part", "Script", "Statement", "Text"]


class Script:
    """A script and what it was taken apart into last, so that its bytes are seldom needed."""

    def __init__(self, content: bytes, load: Callable[[], bytes]) -> None:
        """``load`` returns the content again."""
        self.digest = hashlib.sha256(content).hexdigest()
        self._load = load
        self._plain = not matters(content)
        self._known = tuple(
            (part, ReadingMode()) for part in _run(lex(content, ReadingMode()), ReadingMode)
        )

    def parts(self, mode: Callable[[], ReadingMode]) -> Iterator[Part]:
        """Yield the parts; before each further one, ``mode`` is asked how to read it.

        Raises what ``load`` does.
        """
        known, start = self._known, mode()
        if self._plain and not hides_commands(start):  # it changes nothing, and nothing changes it
            yield known[0][0]
            return
        if start == known[0][1]:
            for number, (part, _) in enumerate(known):
                yield part
                now = mode()
                if number + 1 < len(known) and now != known[number + 1][1]:
                    modes = [before for _, before in known[: number + 1]] + [now]
                    break
            else:
                return
        else:
            modes = [start]
        yield from self._read(modes, mode)

    def _read(self, modes: list[ReadingMode], mode: Callable[[], ReadingMode]) -> Iterator[Part]:
        """Read the script itself; the parts before the last of ``modes`` were yielded."""
        taken: list[tuple[Part, ReadingMode]] = []
        before = modes[0]
        reading = lex(self._load(), before)
        part = next(reading, None)
        while part is not None:
            taken.append((part, before))
            if len(taken) < len(modes):
                before = modes[len(taken)]
            else:
                yield part
                before = mode()
            try:
                part = reading.send(before)
            except StopIteration:
                break
        self._known = tuple(taken)


def _run(parts: Parts, mode: Callable[[], ReadingMode]) -> Iterator[Part]:
    try:
        part = next(parts)
        while True:
            yield part
            part = parts.send(mode())
    except StopIteration:
        return
