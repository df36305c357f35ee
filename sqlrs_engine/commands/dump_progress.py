"""The progress of a dump: a moving line on a terminal, a line every few seconds elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator

from sqlrs_engine.control_characters import visible

from .ls import size
from .terminal import Terminal

_WIDTH = 76
_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_MOVES = 0.1

OnDump = Callable[[int, str], None]
"""Takes the bytes so far, and the table that is being read."""


@contextlib.contextmanager
def dump_progress(terminal: Terminal, name: str) -> Iterator[OnDump]:
    """Yield a function that shows progress on standard error; ``name`` says what is dumped."""
    if not terminal.stderr.isatty():
        yield _Seldom(lambda line: terminal.report(f"{name}: {line}"), _SECONDS_BETWEEN_LINES)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=terminal.stderr, markup=False, highlight=False)
    # Plain text would be taken for rich's markup, and a longer one for two lines.
    with console.status(Text(visible(name)[:_WIDTH])) as status:
        yield _Seldom(
            lambda line: status.update(Text(visible(f"{name}: {line}")[:_WIDTH])),
            _SECONDS_BETWEEN_MOVES,
        )


class _Seldom:
    """Shows progress as a line, but not more often than every so many seconds."""

    def __init__(
        self,
        show: Callable[[str], object],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show = show
        self._seconds = seconds
        self._clock = clock
        self._due = clock() + seconds
        self._began = clock()

    def __call__(self, done_bytes: int, table: str) -> None:
        """Show how far the dump is, if it is time."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + self._seconds
        speed = done_bytes / max(now - self._began, 0.001)
        where = f", {table}" if table else ""
        self._show(f"{size(done_bytes)}, {size(int(speed))}/s{where}")
