"""The client's side of ``prepare``: psql's arguments before they are sent."""

import io
from pathlib import Path

import pytest

from sqlrs_engine import cli
from sqlrs_engine.commands.prepare import absolute_files, reads_stdin
from sqlrs_engine.commands.progress import PlainProgress, describe

CWD = Path("/w/ws")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["-f", "a.sql"], ["-f", "/w/ws/a.sql"]),
        (["-fa.sql"], ["-f/w/ws/a.sql"]),
        (["--file", "a.sql"], ["--file", "/w/ws/a.sql"]),
        (["--file=a.sql"], ["--file=/w/ws/a.sql"]),
        (["-f", "/x/a.sql"], ["-f", "/x/a.sql"]),
        (["-f", "-"], ["-f", "-"]),
        (["-f", ""], ["-f", ""]),
        (["-f"], ["-f"]),
        (["-c", "-f", "-f", "a.sql"], ["-c", "-f", "-f", "/w/ws/a.sql"]),
        (["-v", "-f", "x"], ["-v", "-f", "x"]),
        (["-v", "file=a.sql", "-1"], ["-v", "file=a.sql", "-1"]),
        (["-f", "-c", "-f", "b"], ["-f", "/w/ws/-c", "-f", "/w/ws/b"]),
    ],
)
def test_files_are_made_absolute(given: list[str], sent: list[str]) -> None:
    assert absolute_files(given, CWD) == sent


@pytest.mark.parametrize(
    ("args", "reads"),
    [
        (["-f", "-"], True),
        (["-f-"], True),
        (["--file", "-"], True),
        (["--file=-"], True),
        (["-f", "a.sql"], False),
        ([], False),
    ],
)
def test_standard_input_is_read_only_when_named(args: list[str], reads: bool) -> None:
    assert reads_stdin(args) is reads


def test_plain_progress_prints_tasks_once_and_no_output() -> None:
    stream = io.StringIO()
    progress = PlainProgress(lambda line: stream.write(f"{line}\n"), verbose=False)
    task = {"type": "task", "task_id": "execute-0", "status": "running"}
    for event in (
        {"type": "status", "status": "running"},
        task,
        {"type": "log", "message": "psql: CREATE TABLE"},
        task,
        {**task, "status": "succeeded"},
    ):
        progress.show(event)
    assert stream.getvalue() == "execute-0: running\nexecute-0: succeeded\n"


def test_verbose_progress_prints_the_output() -> None:
    assert describe({"type": "log", "message": "psql: CREATE TABLE"}) == "  psql: CREATE TABLE"


def test_unknown_events_are_passed_over() -> None:
    assert describe({"type": "surprise"}) == ""


def test_without_an_engine_it_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["prepare", "--no-start", "--state-dir", str(tmp_path), "--", "-c", "x"], {})
    assert code == 3
    error = capsys.readouterr().err
    assert "no engine is running" in error
    assert "sqlrs-engine serve" in error
    assert "Traceback" not in error


def test_a_bad_ttl_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prepare", "--ttl", "soon", "--state-dir", str(tmp_path)], {}) == 2
    assert list(tmp_path.iterdir()) == []
    assert "soon" in capsys.readouterr().err
