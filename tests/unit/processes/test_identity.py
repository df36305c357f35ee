"""Processes by identity."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlrs_engine.processes import identity
from sqlrs_engine.processes.identity import (
    kill_working_in,
    pidfd,
    send,
    start_ticks,
    wait_exit,
    working_in,
    works_in,
)

NO_PID = 2**22 + 1  # beyond what the kernel gives


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        yield process
        process.kill()


@pytest.fixture
def zombie() -> Iterator[int]:
    with subprocess.Popen(["true"]) as process:
        with pidfd(process.pid) as handle:
            assert handle is not None
            assert wait_exit(handle, 10)
        yield process.pid


def test_a_process_keeps_its_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(sleeper.pid)
    assert ticks is not None
    assert ticks == start_ticks(sleeper.pid)
    seconds = ticks / os.sysconf("SC_CLK_TCK")
    assert abs(time.clock_gettime(time.CLOCK_BOOTTIME) - seconds) < 60


def test_a_name_with_parentheses_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / "a) R (b"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as process:
        try:
            own = start_ticks(os.getpid())
            ticks = start_ticks(process.pid)
            assert own is not None
            assert ticks is not None
            assert ticks >= own
        finally:
            process.kill()


def test_the_dead_have_no_start_time(zombie: int) -> None:
    assert start_ticks(NO_PID) is None
    assert start_ticks(zombie) is None


def test_a_process_that_vanishes_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path) -> bytes:
        raise ProcessLookupError

    monkeypatch.setattr(Path, "read_bytes", gone)
    assert start_ticks(1) is None


def test_where_a_process_works(
    sleeper: subprocess.Popen[bytes], zombie: int, tmp_path: Path
) -> None:
    assert works_in(sleeper.pid, tmp_path)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert works_in(sleeper.pid, link)
    assert not works_in(sleeper.pid, tmp_path.parent)
    assert not works_in(sleeper.pid, tmp_path / "missing")
    assert not works_in(zombie, tmp_path)
    assert not works_in(NO_PID, tmp_path)
    assert working_in(tmp_path) == [sleeper.pid]


WITHOUT_PTRACE = """
import os, sys
from pathlib import Path
from sqlrs_engine.processes.identity import works_in

pid, directory = int(sys.argv[1]), Path(sys.argv[2])
try:
    os.readlink(f"/proc/{pid}/cwd")
    print("allowed")
except PermissionError:
    print("forbidden")
print(works_in(pid, directory), works_in(pid, directory.parent), os.geteuid())
Path(directory, "of root").touch()
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root")
def test_root_without_the_right_to_trace_sees_where_another_users_process_works(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path, user=4711, group=4711) as process:
        try:
            command = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all", sys.executable]
            told = subprocess.run(
                [*command, "-c", WITHOUT_PTRACE, str(process.pid), str(tmp_path)],
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            process.kill()
    assert told.stdout.splitlines() == ["forbidden", "True False 0"]
    assert (tmp_path / "of root").stat().st_uid == 0


def test_a_handle_to_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    with pidfd(NO_PID) as nobody:
        assert nobody is None
    with pidfd(sleeper.pid) as handle:
        assert handle is not None
        assert not wait_exit(handle, 0)
        assert not wait_exit(handle, 0.01)
        send(handle, signal.SIGTERM)
        assert wait_exit(handle, 10)
        sleeper.wait(10)
        send(handle, signal.SIGTERM)  # nothing happens
        assert wait_exit(handle, 0)


def test_every_process_of_a_directory_is_killed(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path.parent) as other:
        assert kill_working_in(tmp_path, 10) == [sleeper.pid]
        assert other.poll() is None
        other.kill()
    assert sleeper.wait(10) == -signal.SIGKILL
    assert kill_working_in(tmp_path, 10) == []


@pytest.mark.parametrize("now", [False, None])
def test_a_process_that_moved_on_is_not_killed(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: object
) -> None:
    pid = sleeper.pid if now is False else NO_PID
    monkeypatch.setattr(identity, "working_in", lambda directory: [pid])
    monkeypatch.setattr(identity, "works_in", lambda pid, directory: False)
    assert kill_working_in(tmp_path, 10) == []
    assert sleeper.poll() is None


def test_a_process_that_will_not_end(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "send", lambda process, number: None)
    with pytest.raises(TimeoutError, match=f"process {sleeper.pid} does not end"):
        kill_working_in(tmp_path, 0.01)
