"""commands.dump_progress: lines every few seconds, a moving line at a terminal."""

import io
from pathlib import Path

from sqlrs_engine.commands import dump_progress as module
from sqlrs_engine.commands.dump_progress import _Seldom, dump_progress
from sqlrs_engine.commands.terminal import Terminal


def terminal(stderr: io.StringIO) -> Terminal:
    return Terminal(
        environ={}, cwd=Path("/"), stdin=io.StringIO(), stdout=io.StringIO(), stderr=stderr
    )


def test_a_line_every_few_seconds() -> None:
    now, lines = [0.0], []
    seldom = _Seldom(lines.append, 5.0, clock=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        seldom(second * 2 * 1024**2, "public.t" if second > 5 else "")
    assert lines == ["10.0 MiB, 2.0 MiB/s", "20.0 MiB, 2.0 MiB/s, public.t"]


def test_plain_lines_name_what_is_dumped(monkeypatch) -> None:
    monkeypatch.setattr(module, "_SECONDS_BETWEEN_LINES", 0.0)
    stderr = io.StringIO()
    with dump_progress(terminal(stderr), "dumping app") as on_dump:
        on_dump(1024, 'a"\x1b[31m')
    assert stderr.getvalue().startswith("dumping app: 1.0 KiB, ")
    assert "\x1b" not in stderr.getvalue()


def test_a_terminal_has_a_moving_line(monkeypatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(module, "_SECONDS_BETWEEN_MOVES", 0.0)
    screen = Screen()
    with dump_progress(terminal(screen), "dumping app") as on_dump:
        on_dump(1024, "\x1b[31m[red]t")
    assert "dumping app" in screen.getvalue()
    assert "\x1b[31m[red]" not in screen.getvalue()
