"""The progress of a pull on a terminal and elsewhere, and its end by Ctrl-C."""

import io
import signal
from pathlib import Path

import pytest
from support.waiting import eventually

from sqlrs_engine.commands.interruption import interruptible
from sqlrs_engine.commands.pull_progress import pull_progress
from sqlrs_engine.commands.terminal import Terminal
from sqlrs_engine.errors import RegistryUnavailable
from sqlrs_engine.postgres.images.progress import Progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(stderr: io.StringIO) -> Terminal:
    return Terminal(
        environ={}, cwd=Path("/"), stdin=io.StringIO(), stdout=io.StringIO(), stderr=stderr
    )


def downloaded(mebibytes: int) -> Progress:
    return Progress(phase="downloading", done_bytes=mebibytes << 20, total_bytes=180 << 20)


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    screen = Screen()
    with pull_progress(terminal(screen), "pulling [bold]x") as on_progress:
        on_progress(Progress(phase="resolving"))
        on_progress(downloaded(45))
        on_progress(Progress(phase="finishing"))
    shown = screen.getvalue()
    assert "pulling [bold]x" in shown
    assert "making its PostgreSQL runnable" in shown


def test_a_bar_takes_one_line_of_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen()
    name = "pulling registry.example.com:5000/databases/postgis/postgis:17-3.5"
    with pull_progress(terminal(screen), name) as on_progress:
        on_progress(downloaded(45))
        eventually(lambda: "45.0 of 180.0 MiB" in screen.getvalue(), "a bar")
        on_progress(Progress(phase="finishing"))
    assert screen.getvalue().count("\n") == 1


def test_without_a_terminal_there_are_lines_and_not_many() -> None:
    stream = io.StringIO()
    with pull_progress(terminal(stream), "pulling x") as on_progress:
        for mebibytes in range(180):
            on_progress(downloaded(mebibytes))
        on_progress(Progress(phase="unpacking"))
    assert stream.getvalue().splitlines() == [
        "pulling x: 0.0 of 180.0 MiB",
        "pulling x: putting its files together",
    ]


class Work:
    """Work that is interrupted, and looks for the request to end only after some more of it."""

    def __init__(self, presses: int) -> None:
        self.presses = presses
        self.stream = io.StringIO()
        self.steps = 0

    def run(self) -> None:
        with interruptible(terminal(self.stream), "pull") as cancellation:
            for _ in range(self.presses):
                signal.raise_signal(signal.SIGINT)
                self.steps += 1
            cancellation.check()


def test_ctrl_c_ends_the_work_once_it_looks() -> None:
    before, work = signal.getsignal(signal.SIGINT), Work(presses=1)
    with pytest.raises(KeyboardInterrupt):
        work.run()
    assert work.steps == 1
    assert work.stream.getvalue() == ("ending the pull (press Ctrl-C again to end it at once)\n")
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    work = Work(presses=3)
    with pytest.raises(KeyboardInterrupt):
        work.run()
    assert work.steps == 1


def test_other_failures_pass_through() -> None:
    with pytest.raises(RegistryUnavailable), interruptible(terminal(io.StringIO()), "pull"):
        raise RegistryUnavailable("no answer")
