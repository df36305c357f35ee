"""The log of a server."""

import os
import socket
from pathlib import Path

import pytest

from sqlrs_engine.postgres.log_file import LIMIT_BYTES, open_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "postgres.log"


def test_the_tail_of_a_log_is_what_was_written_since_it_was_opened(path: Path) -> None:
    path.write_text("old\n")
    with open_log(path) as log:
        assert log.tail() == ""
        os.write(log.descriptor, b"one\ntwo\n")
        assert log.tail() == "one\ntwo"
    assert path.read_text() == "old\none\ntwo\n"


def test_only_the_engine_can_read_a_new_log(path: Path) -> None:
    with open_log(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_tail_of_a_log_has_twenty_lines(path: Path) -> None:
    with open_log(path) as log:
        os.write(log.descriptor, b"".join(b"line %d\n" % n for n in range(10_000)))
        lines = log.tail().splitlines()
    assert (len(lines), lines[0], lines[-1]) == (20, "line 9980", "line 9999")


def test_the_tail_of_a_log_replaces_what_is_not_utf8(path: Path) -> None:
    with open_log(path) as log:
        os.write(log.descriptor, b"\xff\xfe wrong\n")
        assert "wrong" in log.tail()


def test_a_log_grown_large_is_emptied(path: Path) -> None:
    path.touch()
    os.truncate(path, LIMIT_BYTES + 1)
    with open_log(path) as log:
        assert (log.offset, path.stat().st_size) == (0, 0)


@pytest.mark.parametrize("state", ["", "58P01 "])
def test_the_last_error_of_a_session_reads_as_psql_shows_it(path: Path, state: str) -> None:
    time = "2026-03-01 09:00:00.000 UTC"
    path.write_text(f"{time} [7] ERROR:  of an earlier start\n")
    with open_log(path) as log:
        assert log.last_error() is None
        for line in (
            "[8] ERROR:  first",
            '[9] ERROR:  extension "postgis" is not available',
            "[9] DETAIL:  Could not open\n\tthe file.",
            "[9] HINT:  Install it.",
            "[9] STATEMENT:  create extension [postgis]\n\tcascade",
            "[9] ERROR:  current transaction is aborted, commands ignored until end of ...",
            "[10] FATAL:  terminating connection due to administrator command",
            "[1] LOG:  received smart shutdown request",
        ):
            pid, _, text = line.partition(" ")
            os.write(log.descriptor, f"{time} {pid} {state}{text}\n".encode())
        assert log.last_error() == (
            'ERROR:  extension "postgis" is not available\n'
            "DETAIL:  Could not open\n\tthe file.\n"
            "HINT:  Install it."
        )


def test_a_log_without_errors_has_no_last_error(path: Path) -> None:
    with open_log(path) as log:
        os.write(log.descriptor, b"2026-03-01 09:00:00.000 UTC [1] LOG:  ready\n")
        assert log.last_error() is None


@pytest.mark.parametrize("kind", ["symlink", "dangling", "hard link", "fifo", "socket", "foreign"])
def test_anything_but_a_plain_file_of_the_engines_own_is_replaced_by_a_log(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers' user may have put anything there."""
    other = path.with_name("other")
    if kind in ("symlink", "hard link"):
        other.write_text("untouched")
    if kind in ("symlink", "dangling"):
        path.symlink_to(other)
    elif kind == "hard link":
        path.hardlink_to(other)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as unix:
            monkeypatch.chdir(path.parent)
            unix.bind(path.name)
    else:
        path.write_text("theirs")
        owner = os.geteuid()
        monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    with open_log(path) as log:
        os.write(log.descriptor, b"ours\n")
    assert path.is_file()
    assert not path.is_symlink()
    assert path.read_text() == "ours\n"
    assert not other.exists() or other.read_text() == "untouched"


def test_a_directory_in_the_place_of_a_log_is_left_alone(path: Path) -> None:
    path.mkdir()
    with pytest.raises(OSError, match="directory"), open_log(path):
        pass
    assert path.is_dir()
