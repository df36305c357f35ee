"""One run: programs become events, and end when they should. Shell scripts stand for psql."""

import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.programs import has_ended, pid_from, shell
from support.run_reader import RunReader, text
from support.waiting import PATIENCE, eventually

from sqlrs_engine import stream
from sqlrs_engine.errors import ClusterFailed, InvalidArgument, Unavailable
from sqlrs_engine.processes import program
from sqlrs_engine.processes.program import GRACE_SECONDS
from sqlrs_engine.runs import run as run_module
from sqlrs_engine.runs.event_queue import LIMIT_BYTES, EventQueue
from sqlrs_engine.runs.run import Run

IDENT = "cd" * 16


def launch(script, *arguments):
    return lambda: shell(script, *arguments)


def plain(events):
    """Return the events without their times."""
    return [{k: v for k, v in event.items() if k != "ts"} for event in events]


def read(*scripts, **options):
    """Run scripts one after another and return their events."""
    return RunReader(Run(IDENT, [launch(script) for script in scripts], **options)).rest()


# Output


def test_output_comes_between_start_and_exit():
    events = read("echo hello; echo oops >&2; echo bye")
    assert plain([events[0], events[-1]]) == [
        {"type": "start", "instance_id": IDENT},
        {"type": "exit", "exit_code": 0},
    ]
    assert text(events) == "hello\nbye\n"
    assert text(events, "stderr") == "oops\n"
    assert all(event["ts"].endswith("Z") for event in events)


def test_without_output_there_are_a_start_and_an_exit():
    assert [event["type"] for event in read("true")] == ["start", "exit"]


def test_output_is_there_before_the_end(tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    reader = RunReader(Run(IDENT, [launch('echo first; read x <"$1"; echo second', str(gate))]))
    reader.until(lambda events: text(events) == "first\n")
    assert not reader.run.finished
    gate.write_text("go\n")
    assert text(reader.rest()) == "first\nsecond\n"


def test_the_notes_of_a_run_come_before_its_start():
    events = read("true", notes=["starting", "started"])
    assert plain(events[:3]) == [
        {"type": "log", "message": "starting"},
        {"type": "log", "message": "started"},
        {"type": "start", "instance_id": IDENT},
    ]


def test_a_long_line_comes_in_pieces_that_clients_can_read():
    # The third form takes six bytes per character in JSON, the second three.
    script = r"""
        head -c 200000 /dev/zero | tr '\0' x
        i=0; while [ $i -lt 40 ]; do printf '%01000d' 0 | sed 's/0/\xe2\x82\xac/g'; i=$((i+1)); done
        head -c 60000 /dev/zero | tr '\0' '\1'
    """
    events = read(script)
    assert text(events) == "x" * 200_000 + "€" * 40_000 + "\1" * 60_000
    assert max(len(stream.encode_line(event)) for event in events) < 50_000


def test_many_rows_come_whole_and_in_order():
    events = read("seq 200000")
    assert text(events) == "".join(f"{n}\n" for n in range(1, 200_001))


# Exit codes and steps


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_the_exit_code_is_the_programs(code):
    assert read(f"exit {code}")[-1]["exit_code"] == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_an_end_by_a_signal_is_128_and_the_signal(number):
    assert read(f"kill -{number:d} $$")[-1]["exit_code"] == 128 + number


def test_no_step_follows_one_that_failed(tmp_path):
    events = read("echo one", "echo two; exit 3", f"touch {tmp_path}/three")
    assert text(events) == "one\ntwo\n"
    assert [event["exit_code"] for event in events if event["type"] == "exit"] == [3]
    assert not (tmp_path / "three").exists()


def test_a_step_starts_when_the_one_before_has_ended(tmp_path):
    mark = tmp_path / "mark"
    events = read(f"sleep 0.2; touch {mark}", f"test -e {mark} && echo after")
    assert text(events) == "after\n"


def test_a_first_program_that_cannot_start_is_the_callers_error():
    def fail():
        raise InvalidArgument("no program of this name", "x")

    with pytest.raises(InvalidArgument):
        Run(IDENT, [fail])


def test_a_later_program_that_cannot_start_is_an_event():
    def fail():
        raise ClusterFailed("cannot run psql", "why")

    events = RunReader(Run(IDENT, [launch("echo one"), fail])).rest()
    assert text(events) == "one\n"
    assert plain(events[-1:]) == [
        {
            "type": "error",
            "error": {"code": "cluster_failed", "message": "cannot run psql", "details": "why"},
            "message": "cannot run psql: why",
        }
    ]


def test_a_defect_is_an_event_without_its_secrets(caplog):
    def fail():
        raise RuntimeError("secret")

    events = RunReader(Run(IDENT, [launch("true"), fail])).rest()
    assert events[-1]["error"]["code"] == "internal_error"
    assert "secret" not in str(events)
    assert "secret" in caplog.text


# Back-pressure


def test_a_slow_reader_slows_the_program_down():
    size, queue = 5_000_000, EventQueue()
    run = Run(IDENT, [launch(f"head -c {size} /dev/zero | tr '\\0' x")], queue=queue)
    run.start(lambda: None)
    taken = []
    while sum(taken) < size - LIMIT_BYTES:
        eventually(lambda: queue.full, "a full queue")
        taken.append(len(text(run.take())))
    assert max(taken) < LIMIT_BYTES + 50_000
    assert sum(taken) + len(text(RunReader(run).rest())) == size


def test_the_end_of_a_program_does_not_cut_what_a_slow_reader_has_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "LEFTOVER_SECONDS", 0)
    size, queue, end = LIMIT_BYTES + 20_000, EventQueue(), tmp_path / "end"
    script = f"head -c {size} /dev/zero | tr '\\0' x; touch {end}"  # the rest is in the pipe
    run = Run(IDENT, [launch(script)], queue=queue)
    run.start(lambda: None)
    eventually(lambda: queue.full and end.exists())
    assert len(text(RunReader(run).rest())) == size


def test_a_run_that_nobody_reads_can_be_cancelled():
    queue = EventQueue()
    with running("yes; :", queue=queue) as reader:
        eventually(lambda: queue.full)
        reader.run.cancel()
        assert reader.rest()[-1]["type"] == "error"


# Ends


@contextmanager
def running(script, *arguments, **options):
    """A run of a script, which is over when the block ends."""
    reader = RunReader(Run(IDENT, [launch(script, *arguments)], **options))
    try:
        yield reader
    finally:
        reader.run.cancel()
        assert reader.run.wait(0)


def test_cancelling_ends_the_whole_process_group(tmp_path):
    script = 'sh -c "sleep 100 & echo \\$! >$1/child; wait" & echo $$ >"$1/leader"; wait'
    with running(script, str(tmp_path)) as reader:
        pids = [pid_from(tmp_path / "leader"), pid_from(tmp_path / "child")]
        began = time.monotonic()
        reader.run.cancel()
        assert time.monotonic() - began < PATIENCE
        eventually(lambda: all(map(has_ended, pids)))
        assert plain(reader.rest()[-1:]) == [
            {
                "type": "error",
                "error": {"code": "cancelled", "message": "the run was cancelled: start it again"},
                "message": "the run was cancelled: start it again",
            }
        ]


def test_a_program_that_ignores_the_request_is_killed(tmp_path):
    script = 'trap "" TERM; echo $$ >"$1/pid"; while :; do sleep 1; done'
    with running(script, str(tmp_path)) as reader:
        pid = pid_from(tmp_path / "pid")
        began = time.monotonic()
        reader.run.cancel()
        assert GRACE_SECONDS <= time.monotonic() - began < PATIENCE
        assert has_ended(pid)


def test_a_run_that_was_never_started_can_be_cancelled(tmp_path):
    run = Run(IDENT, [launch('echo $$ >"$1/pid"; sleep 100', str(tmp_path))])
    pid = pid_from(tmp_path / "pid")
    assert not run.wait(0)
    run.cancel()
    assert run.wait(0)
    assert has_ended(pid)
    assert RunReader(run).rest()[-1]["type"] == "error"


def test_cancelling_keeps_the_next_step_from_starting(tmp_path):
    steps = [launch('echo $$ >"$1/pid"; sleep 100', str(tmp_path)), launch(f"touch {tmp_path}/two")]
    reader = RunReader(Run(IDENT, steps))
    pid_from(tmp_path / "pid")
    reader.run.cancel()
    assert reader.rest()[-1]["type"] == "error"
    assert not (tmp_path / "two").exists()


def test_a_step_that_starts_while_the_run_is_cancelled_is_ended_too():
    starting, go = threading.Event(), threading.Event()
    processes = []

    def late():
        starting.set()
        assert go.wait(PATIENCE)
        processes.append(shell("sleep 100"))
        return processes[0]

    reader = RunReader(Run(IDENT, [launch("true"), late]))
    assert starting.wait(PATIENCE)
    reader.run.interrupt(Unavailable("closing"))
    go.set()
    assert reader.rest()[-1]["error"]["code"] == "unavailable"
    assert processes[0].returncode == -signal.SIGTERM


def test_cancelling_a_run_that_is_over_is_harmless():
    reader = RunReader(Run(IDENT, [launch("exit 2")]))
    assert reader.rest()[-1]["exit_code"] == 2
    reader.run.cancel()
    reader.run.cancel()
    assert reader.run.take() == []
    assert reader.run.finished


def test_a_process_left_behind_does_not_keep_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "LEFTOVER_SECONDS", 0.2)
    with running('sleep 100 & echo $! >"$1/pid"; echo done', str(tmp_path)) as reader:
        began = time.monotonic()
        events = reader.rest()
        assert 0.2 <= time.monotonic() - began < PATIENCE
        assert text(events) == "done\n"
        assert events[-1]["exit_code"] == 0
        eventually(lambda: has_ended(pid_from(tmp_path / "pid")))


def test_an_ended_run_leaves_no_zombie_and_no_descriptor():
    before = sorted(Path("/proc/self/fd").iterdir())
    processes = [shell("exit 1"), shell("sleep 100")]
    RunReader(Run(IDENT, [lambda: processes[0]])).rest()
    Run(IDENT, [lambda: processes[1]]).cancel()
    assert [process.returncode for process in processes] == [1, -signal.SIGTERM]
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_run_that_does_not_end_is_reported(monkeypatch, caplog):
    monkeypatch.setattr(run_module, "END_SECONDS", 0.01)
    release = threading.Event()

    def settle(cut_short):
        release.wait(PATIENCE)
        return []

    run = Run(IDENT, [launch("sleep 100")], settle=settle)
    run.cancel()
    assert "does not end" in caplog.text
    release.set()
    assert run.wait(PATIENCE)


def test_sessions_are_settled_between_the_last_process_and_the_last_event():
    seen = []

    def settle(is_cut_short):
        seen.append((is_cut_short, [event["type"] for event in run.take()]))

    run = Run(IDENT, [launch("true")], settle=settle, on_end=lambda run: seen.append(run))
    events = RunReader(run).rest()
    assert run.wait(PATIENCE)
    assert seen[0][0] is False
    assert "exit" not in seen[0][1]
    assert events[-1]["type"] == "exit"
    assert seen[1:] == [run]


def test_a_cancelled_run_settles_too():
    seen = []
    with running("sleep 100", settle=seen.append) as reader:
        reader.run.cancel()
    assert seen == [True]
