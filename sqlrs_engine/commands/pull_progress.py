"""The progress of a pull: a bar on a terminal, a line every few seconds elsewhere."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .terminal import Terminal

if TYPE_CHECKING:
    from sqlrs_engine.postgres.images.progress import OnProgress, Progress

_SECONDS_BETWEEN_LINES = 5.0


@contextlib.contextmanager
def pull_progress(terminal: Terminal, name: str) -> "Iterator[OnProgress]":
    """Yield a function that shows progress on standard error; ``name`` says what is under way."""
    from sqlrs_engine.postgres.images.progress_lines import ProgressLines, describe

    if not terminal.stderr.isatty():
        yield ProgressLines(name, terminal.report, seconds_between=_SECONDS_BETWEEN_LINES)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(file=terminal.stderr, markup=False, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def show(progress: "Progress") -> None:
            downloads = progress.phase == "downloading"
            bar.update(
                task,
                description=name if downloads else f"{name}: {describe(progress)}",
                completed=progress.done_bytes,
                total=progress.total_bytes or None,
            )

        yield show
