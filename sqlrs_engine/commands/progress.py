"""Live progress of a job: a moving line on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from sqlrs_engine.control_characters import visible

from .terminal import Terminal

_WIDTH = 76
_SECONDS_BETWEEN_LINES_OF_A_PULL = 5.0


class Progress(Protocol):
    """Something that shows the events of a job."""

    def show(self, event: dict[str, Any]) -> None:
        """Show an event."""

    def note(self, text: str) -> None:
        """Show a remark of the command line."""

    def end(self) -> None:
        """Show pending lines; no event follows."""


class PlainProgress:
    """One line per task that starts or ends, and per line of output if verbose.

    Steps that were cached are one line together, however many: they end without a start. A pull
    has a line every few seconds, as it may take minutes. The download of an extension has one.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        verbose: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._verbose = verbose
        self._clock = clock
        self._next_of_pull = 0.0
        self._last = ""
        self._running = ""
        self._cached: list[str] = []

    def show(self, event: dict[str, Any]) -> None:
        """Print the event, unless it repeats the last one."""
        hidden = event["type"] == "log" and not self._verbose and not _is_warning(event)
        if hidden and not self._is_due_of_pull(event):
            return
        if event["type"] == "task" and self._is_cached(event):
            return
        line = describe(event)
        if line and line != self._last:
            self.end()
            self._write(line)
            self._last = line

    def note(self, text: str) -> None:
        """Print the remark."""
        self.end()
        self._write(text)

    def end(self) -> None:
        """Print pending lines."""
        cached, self._cached = self._cached, []
        if cached:
            self._write(visible(f"{' to '.join(dict.fromkeys((cached[0], cached[-1])))}: cached"))

    def begun(self, event: dict[str, Any]) -> None:
        """Record a task that is shown elsewhere."""
        self._running = str(event.get("task_id"))

    def _is_due_of_pull(self, event: dict[str, Any]) -> bool:
        """Return whether an event is about a pull or another download and due to be shown."""
        message = str(event.get("message", ""))
        now = self._clock()
        if message.startswith("pulling ") and now >= self._next_of_pull:
            self._next_of_pull = now + _SECONDS_BETWEEN_LINES_OF_A_PULL
            return True
        return message.startswith(("pulled ", "downloading "))

    def _is_cached(self, event: dict[str, Any]) -> bool:
        """Record a task; return whether it ended without having started."""
        task, status = str(event.get("task_id")), event.get("status")
        if status == "running":
            self.begun(event)
        elif status == "succeeded" and task != self._running:
            if task not in self._cached[-1:]:
                self._cached.append(task)
            return True
        return False


def _is_warning(event: dict[str, Any]) -> bool:
    return str(event.get("message", "")).startswith("warning: ")


class LiveProgress:
    """A spinner with the current task and the latest line of output.

    ``update`` shows a line beside it.
    """

    def __init__(
        self, update: Callable[[str], object], plain: PlainProgress, *, verbose: bool
    ) -> None:
        self._update = update
        self._plain = plain
        self._verbose = verbose
        self._task = "preparing"

    def show(self, event: dict[str, Any]) -> None:
        """Update the spinner, or print finished tasks and verbose output above it."""
        if event["type"] == "task" and event.get("status") == "running":
            self._plain.begun(event)
            self._task = str(event.get("task_id"))
            self._update(visible(self._task))
        elif event["type"] == "log" and not self._verbose and not _is_warning(event):
            text = visible(f"{self._task}: {event.get('message', '')}").splitlines()[0]
            self._update(text[:_WIDTH])
        else:
            self._plain.show(event)

    def note(self, text: str) -> None:
        """Print the remark above the spinner."""
        self._plain.note(text)

    def end(self) -> None:
        """Print pending lines above the spinner."""
        self._plain.end()


@contextlib.contextmanager
def progress_on(terminal: Terminal, *, verbose: bool) -> Iterator[Progress]:
    """Show progress on standard error: a spinner on a terminal, plain lines elsewhere."""
    if not terminal.stderr.isatty():
        plain = PlainProgress(terminal.report, verbose=verbose)
        yield plain
        plain.end()
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=terminal.stderr, markup=False, highlight=False)
    with console.status("preparing") as status:
        # Printed through the console, so that the spinner moves down.

        def update(line: str) -> None:
            status.update(Text(line))  # plain text would be taken for rich's markup

        live = LiveProgress(update, PlainProgress(console.print, verbose=verbose), verbose=verbose)
        yield live
        live.end()


def describe(event: dict[str, Any]) -> str:
    """Return the line for an event, or an empty string if it needs none."""
    match event["type"]:
        case "task":
            return visible(f"{event.get('task_id')}: {event.get('status')}")
        case "log":
            return visible(f"  {event.get('message', '')}")
        case _:
            return ""
