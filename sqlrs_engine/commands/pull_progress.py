"""The progress of a pull: a bar on a terminal, a line every few seconds elsewhere."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .terminal import Terminal

if TYPE_CHECKING:
    from sqlrs_engine.postgres.images.progress import OnProgress, Progress

_SECONDS_BETWEEN_LINES = 5.0
_BAR_WIDTH = 12


@contextlib.contextmanager
def pull_progress(terminal: Terminal, name: str) -> "Iterator[OnProgress]":
    """Yield a function that shows progress on standard error; ``name`` says what is under way."""
    from sqlrs_engine.postgres.images.progress_lines import ProgressLines, describe, mebibytes

    if not terminal.stderr.isatty():
        yield ProgressLines(name, terminal.report, seconds_between=_SECONDS_BETWEEN_LINES)
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(file=terminal.stderr, markup=False, highlight=False)
    text = TextColumn(
        "{task.description}",
        markup=False,
        table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
    )
    of_download = (
        text,
        BarColumn(bar_width=_BAR_WIDTH),
        # rich's own columns have other units than the lines and the lists.
        TextColumn("{task.fields[amount]}", table_column=Column(no_wrap=True)),
    )
    of_other_work = (SpinnerColumn(), text)
    with Bar(*of_other_work, console=console, transient=True, expand=True) as bar:
        task = bar.add_task(name, total=None, amount="")

        def show(progress: "Progress") -> None:
            downloads = progress.phase == "downloading"
            bar.columns = of_download if downloads else of_other_work
            bar.update(
                task,
                description=name if downloads else f"{name}: {describe(progress)}",
                completed=progress.done_bytes,
                total=progress.total_bytes or None,
                amount=f"{describe(progress)}, {mebibytes(bar.tasks[0].speed or 0)} MiB/s",
            )

        yield show
