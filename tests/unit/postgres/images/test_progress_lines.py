"""Lines about a pull."""

from sqlrs_engine.postgres.images.progress import Progress
from sqlrs_engine.postgres.images.progress_lines import ProgressLines


class Lines:
    def __init__(self) -> None:
        self.time = 0.0
        self.written: list[str] = []
        self.show = ProgressLines("pulling x", self.written.append, lambda: self.time)

    def downloaded(self, done: int) -> None:
        self.show(Progress(phase="downloading", done_bytes=done, total_bytes=180 << 20))


def test_each_phase_has_a_line() -> None:
    lines = Lines()
    lines.show(Progress(phase="resolving"))
    lines.show(Progress(phase="waiting"))
    lines.downloaded(0)
    lines.show(Progress(phase="unpacking"))
    lines.show(Progress(phase="finishing"))
    assert lines.written == [
        "pulling x: looking it up",
        "pulling x: waiting for another pull of it",
        "pulling x: 0.0 of 180.0 MiB",
        "pulling x: putting its files together",
        "pulling x: making its PostgreSQL runnable",
    ]


def test_a_download_writes_at_most_two_lines_a_second_and_none_twice() -> None:
    lines = Lines()
    for step in range(1000):
        lines.time = step / 250
        lines.downloaded((45 << 20) * step // 1000)
    assert 6 <= len(lines.written) <= 9
    lines.time = 100
    lines.downloaded(45 << 20)
    lines.time = 200
    lines.downloaded((45 << 20) + 1)
    assert lines.written[-1] == "pulling x: 45.0 of 180.0 MiB"
    assert len(set(lines.written)) == len(lines.written)
