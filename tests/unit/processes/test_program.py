"""Programs of the engine: their output, their end, and the end of what they started."""

import contextlib
import errno
import os
import signal
import subprocess
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.prepare_fakes import in_thread
from support.programs import has_ended, pid_from, shell
from support.waiting import PATIENCE, eventually

from sqlrs_engine.errors import Cancelled
from sqlrs_engine.processes import program as module
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Lines, Text
from sqlrs_engine.processes.program import Program, input_file


def follow(
    script: str, *arguments: str, cancellation: Cancellation | None = None, **options: Any
) -> tuple[list[str], int]:
    """Follow a script to its end; return its lines and its exit code."""
    lines: list[str] = []
    program = Program(shell(script, *arguments, stderr=subprocess.STDOUT))
    code = program.follow(
        {"stdout": Lines(lines.append)}, cancellation or Cancellation(), **options
    )
    return lines, code


def cancelled(
    script: str, *arguments: str, when: Callable[[], object], **options: Any
) -> tuple[list[str], int]:
    """Follow a script that is cancelled once ``when`` holds."""
    cancellation = Cancellation()

    def cancel() -> None:
        eventually(when, "the moment to cancel")
        cancellation.cancel()

    with in_thread(cancel):
        result = follow(script, *arguments, cancellation=cancellation, **options)
    with pytest.raises(Cancelled):
        cancellation.check()
    return result


def open_descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file to which scripts write a pid."""
    return tmp_path / "pid"


# Output and exit codes


def test_lines_of_both_streams_in_one_pipe_keep_their_order() -> None:
    assert follow("echo one; echo two >&2; echo three") == (["one", "two", "three"], 0)


def test_two_pipes_are_kept_apart_and_may_both_be_full() -> None:
    out: list[str] = []
    err: list[str] = []
    program = Program(shell("head -c 1000000 /dev/zero & head -c 1000000 /dev/zero >&2; wait"))
    outputs = {"stdout": Text(out.append), "stderr": Text(err.append)}
    assert program.follow(outputs, Cancellation()) == 0
    assert len("".join(out)) == len("".join(err)) == 1_000_000


def test_output_is_passed_on_at_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    lines: list[str] = []

    def on_line(line: str) -> None:
        lines.append(line)
        if line == "one":
            gate.write_text("go\n")

    program = Program(
        shell('echo one; read x <"$1"; echo two', str(gate), stderr=subprocess.STDOUT)
    )
    program.follow({"stdout": Lines(on_line)}, Cancellation())
    assert lines == ["one", "two"]


def test_a_program_may_close_its_output_before_it_ends() -> None:
    assert follow("exec >&- 2>&-; sleep 0.2; exit 3") == ([], 3)


@pytest.mark.parametrize("code", [0, 1, 127, 255])
def test_the_exit_code_is_the_programs(code: int) -> None:
    assert follow(f"exit {code}")[1] == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_an_end_by_a_signal_is_its_negative_number(number: int) -> None:
    assert follow(f"kill -{number:d} $$")[1] == -number


# Cancellation


def test_cancelling_interrupts_the_whole_group_and_reads_its_last_words(file: Path) -> None:
    script = (
        "trap 'echo interrupted; exit 3' INT; sleep 600 & echo $! >\"$1\"; echo started; wait;"
        " sleep 600"
    )
    lines, code = cancelled(script, str(file), when=lambda: pid_from(file))
    assert lines == ["started", "interrupted"]
    assert code == 3
    eventually(lambda: has_ended(pid_from(file)))


def test_a_program_that_ignores_signals_is_killed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    script = "trap '' INT TERM; echo $$ >\"$1\"; while true; do sleep 0.01; done"
    assert cancelled(script, str(file), when=lambda: pid_from(file))[1] == -signal.SIGKILL


def test_the_signals_can_be_chosen(file: Path) -> None:
    script = "trap 'echo interrupted' INT; echo $$ >\"$1\"; while true; do sleep 0.01; done"
    result = cancelled(
        script, str(file), when=lambda: pid_from(file), signals=[signal.SIGTERM, signal.SIGKILL]
    )
    assert result == ([], -signal.SIGTERM)


def test_a_program_of_cancelled_work_ends_at_once() -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    assert follow("sleep 600", cancellation=cancellation)[1] < 0


def test_cancelling_does_not_wait_for_a_child_that_holds_the_pipe(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEFTOVER_SECONDS", PATIENCE)
    began = time.monotonic()
    cancelled('sleep 600 & echo $! >"$1"', str(file), when=lambda: pid_from(file))
    assert time.monotonic() - began < PATIENCE
    eventually(lambda: has_ended(pid_from(file)))


# What a program leaves behind


def test_a_child_left_behind_may_print_its_last_words() -> None:
    assert follow("(sleep 0.2; echo last) & echo first") == (["first", "last"], 0)


def test_a_child_that_keeps_the_pipe_open_is_ended(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEFTOVER_SECONDS", 0.2)
    assert follow('sleep 600 & echo $! >"$1"; echo done', str(file)) == (["done"], 0)
    eventually(lambda: has_ended(pid_from(file)))


def test_a_child_without_the_pipe_is_ended_too(file: Path) -> None:
    follow('sleep 600 >/dev/null 2>&1 & echo $! >"$1"', str(file))
    eventually(lambda: has_ended(pid_from(file)))


def test_a_child_that_prints_for_ever_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEFTOVER_SECONDS", 0.1)
    lines, code = follow("yes & echo done")
    assert "done" in lines
    assert code == 0


@pytest.mark.parametrize("child", ["sleep 600", "yes"])
def test_a_process_that_left_the_group_does_not_keep_the_engine_waiting(
    file: Path, monkeypatch: pytest.MonkeyPatch, child: str
) -> None:
    monkeypatch.setattr(module, "LEFTOVER_SECONDS", 0.1)
    try:
        lines, code = follow(f'setsid {child} & echo $! >"$1"; echo done', str(file))
        assert "done" in lines
        assert code == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid_from(file), signal.SIGKILL)


# Requests and answers


def test_reading_stops_at_an_answer_and_continues_to_the_next() -> None:
    answers: list[str] = []
    lines = Lines(answers.append)
    program = Program(
        shell("while read x; do echo $x; done", stdin=subprocess.PIPE, stderr=subprocess.STDOUT)
    )
    for number in (1, 2):
        program.write(f"{number}\n".encode())
        program.read({"stdout": lines}, Cancellation(), until=lambda n=number: len(answers) == n)
        assert program.running
    assert answers == ["1", "2"]
    assert program.close() == -signal.SIGKILL
    assert not program.running


def test_reading_ends_with_a_program_that_gives_no_answer() -> None:
    lines: list[str] = []
    program = Program(shell("echo sorry; exit 3", stdin=subprocess.PIPE, stderr=subprocess.STDOUT))
    program.read({"stdout": Lines(lines.append)}, Cancellation(), until=lambda: False)
    program.write(b"unheard\n")
    assert not program.running
    assert lines == ["sorry"]
    assert program.close() == program.close() == 3


# Failures


def test_a_failure_of_the_listener_ends_the_program(file: Path) -> None:
    def fail(line: str) -> None:
        raise ValueError(line)

    program = Program(shell('echo $$ >"$1"; echo one; sleep 600', str(file)))
    with pytest.raises(ValueError, match="one"):
        program.follow({"stdout": Lines(fail), "stderr": Lines(fail)}, Cancellation())
    assert not psutil.pid_exists(pid_from(file))


def test_a_program_that_cannot_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(pid: int) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    process = shell("sleep 600")
    monkeypatch.setattr(os, "pidfd_open", fail)
    with pytest.raises(OSError, match="too many"):
        Program(process)
    assert process.returncode == -signal.SIGKILL


def test_an_ended_program_leaves_no_zombie_and_no_descriptor() -> None:
    before = open_descriptors()
    process = shell("exit 1")
    outputs = {name: Text(lambda text: None) for name in ("stdout", "stderr")}
    assert Program(process).follow(outputs, Cancellation()) == 1  # type: ignore[arg-type]
    Program(shell("sleep 600")).close()
    assert process.returncode == 1
    assert open_descriptors() == before


# Standard input


def test_a_large_input_is_copied_in_small_pieces() -> None:
    text = "0123456789" * 3_000_000
    tracemalloc.start()
    try:
        with input_file(text) as file:
            peak = tracemalloc.get_traced_memory()[1]
            assert os.fstat(file.fileno()).st_size == len(text)
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_an_input_is_utf8_and_can_be_opened_by_name() -> None:
    with input_file("grün\n") as file:
        process = shell("cat; cat /dev/stdin", stdin=file)
        assert process.communicate() == ("grün\ngrün\n".encode(), b"")


def test_lone_surrogates_of_an_input_are_the_bytes_they_stand_for() -> None:
    with input_file(b"caf\xe9".decode("utf-8", "surrogateescape")) as file:
        assert file.read() == b"caf\xe9"
