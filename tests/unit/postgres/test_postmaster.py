"""What a data directory tells of its server."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlrs_engine.postgres.postmaster import (
    PidFile,
    Postmaster,
    find_postmaster,
    pid_file,
    read_pid_file,
)
from sqlrs_engine.processes.identity import start_ticks


def write(data_dir: Path, pid: object, *, port: object = 6543, status: str = "ready   ") -> None:
    lines = [pid, data_dir, 1700000000, port, ".", "127.0.0.1", "  123  456", status]
    pid_file(data_dir).write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[int]:
    """The pid of a process that works in the directory as a server does."""
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        yield process.pid
        process.kill()


def test_the_pid_file_of_a_ready_server(tmp_path: Path) -> None:
    write(tmp_path, 42)
    assert read_pid_file(tmp_path) == PidFile(42, 6543, ready=True, segment=456)


@pytest.mark.parametrize("status", ["starting", "stopping", "standby ", ""])
def test_the_pid_file_of_a_server_that_is_not_ready(tmp_path: Path, status: str) -> None:
    write(tmp_path, 42, status=status)
    assert read_pid_file(tmp_path) == PidFile(
        42, 6543, ready=False, segment=456, stopping=status == "stopping"
    )


@pytest.mark.parametrize("line", ["", "  7", "  7  x", "  7  -8", "  7  8  9"])
def test_a_pid_file_without_a_shared_memory_segment(tmp_path: Path, line: str) -> None:
    lines = [42, tmp_path, 1, 6543, ".", "", line, "ready"]
    pid_file(tmp_path).write_text("".join(f"{each}\n" for each in lines))
    assert read_pid_file(tmp_path) == PidFile(42, 6543, ready=True)


def test_an_incomplete_pid_file_is_ignored(tmp_path: Path) -> None:
    pid_file(tmp_path).write_text("42\n/data\n1700000000\n6543\n")
    assert read_pid_file(tmp_path) == PidFile(42, 6543, ready=False)


@pytest.mark.parametrize(
    "text", ["", "\n", "42", "42\n/data\n17\n", "x\n/d\n1\n5432\n", "\x00" * 9]
)
def test_a_pid_file_without_numbers_is_ignored(tmp_path: Path, text: str) -> None:
    pid_file(tmp_path).write_text(text)
    assert read_pid_file(tmp_path) is None
    assert find_postmaster(tmp_path) is None


@pytest.mark.parametrize("kind", ["missing", "symlink", "directory", "fifo", "open fifo"])
def test_anything_but_a_regular_pid_file_is_ignored(tmp_path: Path, kind: str) -> None:
    """A database's superuser can put anything there: neither followed nor waited for."""
    path = pid_file(tmp_path)
    if kind == "symlink":
        write(tmp_path, 42)
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        path.mkdir()
    elif kind.endswith("fifo"):
        os.mkfifo(path)
    if kind == "open fifo":
        both = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        assert read_pid_file(tmp_path) is None
        os.close(both)
    assert read_pid_file(tmp_path) is None
    descriptors = Path("/proc/self/fd").iterdir()
    assert str(path) not in [os.path.realpath(descriptor) for descriptor in descriptors]


def test_the_live_server_of_a_data_directory_is_found(tmp_path: Path, server: int) -> None:
    write(tmp_path, server, status="starting")
    ticks = start_ticks(server)
    assert ticks is not None
    found = find_postmaster(tmp_path)
    assert found == Postmaster(server, ticks, 6543)
    assert found.runtime_id == f"{server}.{ticks}"


def test_a_pid_that_passed_to_another_process_is_no_server(tmp_path: Path, server: int) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other, server)
    assert find_postmaster(other) is None


@pytest.mark.parametrize("pid", [0, -1, -42, 2**22 + 1])
def test_a_pid_without_a_process_is_no_server(tmp_path: Path, pid: int) -> None:
    write(tmp_path, pid)
    assert find_postmaster(tmp_path) is None
