"""runs: processes become events, and end when they should. Shell scripts stand for psql."""

import errno
import os
import signal
import subprocess
import tempfile
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.waiting import PATIENCE, eventually

from sqlrs_engine import stream
from sqlrs_engine.errors import (
    ENGINE_STOPPING,
    ClusterFailed,
    Conflict,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.processes import program
from sqlrs_engine.processes.program import GRACE_SECONDS, input_file
from sqlrs_engine.runs import Runs, sessions
from sqlrs_engine.runs import run as run_module
from sqlrs_engine.runs.event_queue import LIMIT_BYTES, EventQueue
from sqlrs_engine.runs.run import Run
from sqlrs_engine.store.records import Instance

IDENT = "cd" * 16


def shell(script, *arguments, stdin=subprocess.DEVNULL, cwd=None):
    return subprocess.Popen(
        ["/bin/sh", "-c", script, "sh", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        start_new_session=True,
    )


def launch(script, *arguments):
    return lambda: shell(script, *arguments)


class Reader:
    """Reads a run the way the HTTP layer does."""

    def __init__(self, run):
        self.run = run
        self.bell = threading.Event()
        self.events = []
        run.start(self.bell.set)

    def until(self, condition):
        """Read until there are events for which the condition holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.events):
            self.take()
            if self.run.finished:
                assert condition(self.events), self.events
                return
            if not self.events or not condition(self.events):
                assert self.bell.wait(deadline - time.monotonic()), self.events
                self.bell.clear()

    def take(self):
        self.events += self.run.take()

    def rest(self):
        """Read to the end and return all events."""
        self.until(lambda events: self.run.finished)
        return self.events

    def text(self, kind="stdout"):
        return text(self.events, kind)


def text(events, kind="stdout"):
    return "".join(event["data"] for event in events if event["type"] == kind)


def plain(events):
    """Return the events without their times."""
    return [{k: v for k, v in event.items() if k != "ts"} for event in events]


def read(*scripts, **options):
    """Run scripts one after another and return their events."""
    return Reader(Run(IDENT, [launch(script) for script in scripts], **options)).rest()


def pid_from(path):
    eventually(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


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
    reader = Reader(Run(IDENT, [launch('echo first; read x <"$1"; echo second', str(gate))]))
    reader.until(lambda events: text(events) == "first\n")
    assert not reader.run.finished
    gate.write_text("go\n")
    assert text(reader.rest()) == "first\nsecond\n"


def test_what_was_there_before_the_run_comes_first():
    events = read("true", notes=["starting", "started"])
    assert plain(events[:3]) == [
        {"type": "log", "message": "starting"},
        {"type": "log", "message": "started"},
        {"type": "start", "instance_id": IDENT},
    ]


def test_a_character_may_come_in_two_reads():
    script = r"printf 'a\342'; sleep 0.1; printf '\202'; sleep 0.1; printf '\254b\n'"
    assert text(read(script)) == "a€b\n"


def test_what_is_not_utf8_is_replaced():
    assert text(read(r"printf 'a\377b\n\342\202'")) == "a\ufffdb\n\ufffd"


def test_a_long_line_comes_in_pieces_that_clients_can_read():
    # The third form takes six bytes a character in JSON, the second three a character.
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


def test_both_pipes_may_be_full_at_once():
    script = "head -c 1000000 /dev/zero & head -c 1000000 /dev/zero >&2; wait"
    events = read(script)
    assert len(text(events)) == len(text(events, "stderr")) == 1_000_000


def test_a_program_may_close_its_output_before_it_ends():
    events = read("exec >&- 2>&-; sleep 0.2; exit 3")
    assert events[-1]["exit_code"] == 3


# Exit codes and steps


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
def test_the_exit_code_is_the_programs(code):
    assert read(f"exit {code}")[-1]["exit_code"] == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_an_end_by_a_signal_is_128_and_the_signal(number):
    assert read(f"kill -{number:d} $$")[-1]["exit_code"] == 128 + number


def test_the_first_failing_step_is_the_last(tmp_path):
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

    events = Reader(Run(IDENT, [launch("echo one"), fail])).rest()
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

    events = Reader(Run(IDENT, [launch("true"), fail])).rest()
    assert events[-1]["error"]["code"] == "internal_error"
    assert "secret" not in str(events)
    assert "secret" in caplog.text


# Back-pressure


def test_a_reader_that_stalls_stalls_the_program():
    size = 20_000_000
    run = Run(IDENT, [launch(f"head -c {size} /dev/zero | tr '\\0' x")])
    run.start(lambda: None)
    eventually(lambda: run._queue._bytes > LIMIT_BYTES)
    time.sleep(0.2)
    assert run._queue._bytes < LIMIT_BYTES + 50_000
    seen = len(text(run.take()))
    assert seen <= LIMIT_BYTES + 50_000
    while not run.finished:
        events = run.take()
        seen += len(text(events))
        if not events:
            time.sleep(0.001)
    assert seen == size


def test_small_events_count_as_what_they_take():
    backlog = EventQueue(limit=10_000)
    writer = threading.Thread(target=lambda: [backlog.put({"n": n}) for n in range(1000)])
    writer.start()
    seen, most = 0, 0
    while seen < 1000:
        events = backlog.take()
        most = max(most, len(events))
        seen += len(events)
    writer.join()
    assert most <= 25


def test_the_end_of_a_program_does_not_cut_what_a_slow_reader_has_not_read(monkeypatch):
    monkeypatch.setattr(program, "LEFTOVER_SECONDS", 0.05)
    size = LIMIT_BYTES + 60_000  # the rest of it waits in the pipe
    run = Run(IDENT, [launch(f"head -c {size} /dev/zero | tr '\\0' x")])
    run.start(lambda: None)
    eventually(lambda: run._queue._bytes > LIMIT_BYTES)
    time.sleep(0.3)
    assert len(text(Reader(run).rest())) == size


def test_the_bell_rings_once_for_what_has_not_been_taken():
    backlog, rings = EventQueue(), []
    backlog.put({"n": 1})
    backlog.listen(lambda: rings.append(1))
    assert len(rings) == 1
    backlog.put({"n": 2})
    assert len(rings) == 1
    assert [event["n"] for event in backlog.take()] == [1, 2]
    backlog.put({"n": 3})
    assert len(rings) == 2
    assert not backlog.exhausted
    backlog.close()
    assert len(rings) == 3
    assert not backlog.exhausted
    backlog.take()
    assert backlog.exhausted


# Ends


@contextmanager
def running(script, *arguments, **options):
    """A run of a script, which is over when the block ends."""
    reader = Reader(Run(IDENT, [launch(script, *arguments)], **options))
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
        eventually(lambda: all(map(ended, pids)))
        assert plain(reader.rest()[-1:]) == [
            {
                "type": "error",
                "error": {"code": "cancelled", "message": "the run was cancelled"},
                "message": "the run was cancelled",
            }
        ]


def test_a_program_that_ignores_the_request_is_killed(tmp_path):
    script = 'trap "" TERM; echo $$ >"$1/pid"; while :; do sleep 1; done'
    with running(script, str(tmp_path)) as reader:
        pid = pid_from(tmp_path / "pid")
        began = time.monotonic()
        reader.run.cancel()
        assert GRACE_SECONDS <= time.monotonic() - began < PATIENCE
        assert ended(pid)


def test_a_run_nobody_reads_can_be_cancelled(tmp_path):
    with running("yes; :") as reader:
        eventually(lambda: reader.run._queue._bytes > LIMIT_BYTES)
        reader.run.cancel()
        assert reader.rest()[-1]["type"] == "error"


def test_a_run_that_was_never_started_can_be_cancelled(tmp_path):
    run = Run(IDENT, [launch('echo $$ >"$1/pid"; sleep 100', str(tmp_path))])
    pid = pid_from(tmp_path / "pid")
    assert not run.wait(0)
    run.cancel()
    assert run.wait(0)
    assert ended(pid)
    assert Reader(run).rest()[-1]["type"] == "error"


def test_cancelling_keeps_the_next_step_from_starting(tmp_path):
    steps = [launch('echo $$ >"$1/pid"; sleep 100', str(tmp_path)), launch(f"touch {tmp_path}/two")]
    reader = Reader(Run(IDENT, steps))
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

    reader = Reader(Run(IDENT, [launch("true"), late]))
    assert starting.wait(PATIENCE)
    reader.run.interrupt(Unavailable("closing"))
    go.set()
    assert reader.rest()[-1]["error"]["code"] == "unavailable"
    assert processes[0].returncode == -signal.SIGTERM


def test_cancelling_what_is_over_is_harmless():
    reader = Reader(Run(IDENT, [launch("exit 2")]))
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
        eventually(lambda: ended(pid_from(tmp_path / "pid")))


def test_a_process_left_behind_goes_even_if_it_holds_no_pipe(tmp_path):
    script = 'sleep 100 >/dev/null 2>&1 & echo $! >"$1/pid"'
    with running(script, str(tmp_path)) as reader:
        assert reader.rest()[-1]["exit_code"] == 0
        eventually(lambda: ended(pid_from(tmp_path / "pid")))


def test_a_process_left_behind_may_say_its_last_words():
    events = read("(sleep 0.2; echo last) & echo first")
    assert text(events) == "first\nlast\n"


def test_a_process_left_behind_that_writes_for_ever_is_cut_off(monkeypatch):
    monkeypatch.setattr(program, "LEFTOVER_SECONDS", 0.1)
    events = read("yes & echo first")
    assert "first\n" in text(events)
    assert events[-1]["exit_code"] == 0


@pytest.mark.parametrize("writes", ["sleep 100", "yes"])
def test_a_process_that_left_the_group_does_not_keep_the_run(tmp_path, monkeypatch, writes):
    monkeypatch.setattr(program, "LEFTOVER_SECONDS", 0.1)
    script = f'setsid {writes} & echo $! >"$1/pid"; echo first'
    with running(script, str(tmp_path)) as reader:
        pid = pid_from(tmp_path / "pid")
        try:
            assert reader.rest()[-1]["exit_code"] == 0
        finally:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)


def test_an_ended_program_is_no_zombie_and_leaves_no_descriptor():
    before = sorted(Path("/proc/self/fd").iterdir())
    processes = [shell("exit 1"), shell("sleep 100")]
    Reader(Run(IDENT, [lambda: processes[0]])).rest()
    Run(IDENT, [lambda: processes[1]]).cancel()
    assert [process.returncode for process in processes] == [1, -signal.SIGTERM]
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_a_process_that_cannot_be_watched_is_not_left_running(monkeypatch):
    def fail(_pid):
        raise OSError(errno.EMFILE, "too many open files")

    process = shell("sleep 100")
    monkeypatch.setattr(os, "pidfd_open", fail)
    with pytest.raises(OSError, match="too many"):
        Run(IDENT, [lambda: process])
    assert process.returncode == -signal.SIGKILL


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
        time.sleep(0.05)
        seen.append((is_cut_short, [event["type"] for event in run.take()]))

    run = Run(IDENT, [launch("true")], settle=settle, on_end=lambda run: seen.append(run))
    events = Reader(run).rest()
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


def test_a_large_input_is_copied_in_small_pieces():
    text = "0123456789" * 3_000_000
    tracemalloc.start()
    try:
        with input_file(text) as file:
            peak = tracemalloc.get_traced_memory()[1]
            assert os.fstat(file.fileno()).st_size == len(text)
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_an_input_is_utf8_and_can_be_opened_by_name():
    with input_file("grün\n") as file:
        process = shell("cat; cat /dev/stdin", stdin=file)
        assert process.communicate() == ("grün\ngrün\n".encode(), b"")


# The service


INSTANCE = Instance(
    instance_id=IDENT,
    image_id="postgres@sha256:" + "ab" * 32,
    state_id="ef" * 32,
    created_at="2026-01-01T00:00:00.000000Z",
    port=20000,
    password="secret",
)


class FakeConnection:
    def __init__(self, client, dbname):
        self.client, self.dbname = client, dbname

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.connected -= 1

    def execute(self, _query, parameters):
        self.client.asked.append(parameters)
        self.row = (self.client.left.pop(0) if self.client.left else 0, 0)
        return self

    def fetchone(self):
        return self.row


class World:
    """A registry, instances and clients in one, and a record of what was asked of them."""

    def __init__(self, script="exit 0", major=18):
        self.script = script
        self.calls = []
        self.started = []
        self.running = True
        self.fail_start = self.fail_connect = self.fail_renew = None
        self.left, self.asked, self.connected = [], [], 0
        self.distribution = Distribution(
            image_id=INSTANCE.image_id,
            version=f"{major}.1",
            major=major,
            bin_dir=Path("/nonexistent"),
            origin="system",
        )
        self.directories = []
        self.runs = Runs(self, self, lambda instance: self, renew=self.renew, scratch=self.scratch)

    def instance(self, ref):
        if ref not in (IDENT, "demo"):
            raise NotFound("instance not found", ref)
        return INSTANCE, ref == "demo"

    def touch(self, name):
        self.calls.append(("touch", name))

    def renew(self, instance_id):
        assert instance_id == IDENT
        self.calls.append(("renew", self.runs.active()))
        if self.fail_renew:
            raise self.fail_renew

    def ensure_running(self, instance_id, on_log):
        self.calls.append(("ensure_running", instance_id))
        if not self.running:
            on_log("starting")
            on_log("started")
        return INSTANCE

    @contextmanager
    def scratch(self):
        with tempfile.TemporaryDirectory() as directory:
            self.directories.append(Path(directory))
            yield Path(directory)

    def client(self, program, arguments, *, port, cwd, stdin, stdout, stderr, environment):
        if self.fail_start:
            raise self.fail_start
        assert (port, stdout, stderr) == (20000, subprocess.PIPE, subprocess.PIPE)
        self.started.append((program, list(arguments), dict(environment)))
        return shell(self.script, *arguments, stdin=stdin or subprocess.DEVNULL, cwd=cwd)

    def connect(self, port, dbname="postgres"):
        if self.fail_connect:
            raise self.fail_connect.pop(0)
        self.connected += 1
        return FakeConnection(self, dbname)

    def open(self, **fields):
        return self.runs.open({"instance_ref": IDENT, "kind": "psql", **fields})

    def read(self, **fields):
        return Reader(self.open(**fields)).rest()


@pytest.fixture
def world():
    world = World()
    yield world
    world.runs.shutdown(PATIENCE)
    assert world.runs.active() == 0


def test_a_run_is_activity_at_both_its_ends(world):
    world.read(args=["-c", "select 1"])
    assert world.calls == [("renew", 0), ("ensure_running", IDENT), ("renew", 1)]
    assert world.runs.active() == 0


def test_a_run_by_name_is_use_of_the_name(world):
    world.read(instance_ref="demo")
    assert world.calls[1] == ("touch", "demo")


def test_use_that_cannot_be_recorded_does_not_keep_the_run(world, caplog):
    run = world.open()
    world.fail_renew = RuntimeError("no disk")
    reader = Reader(run)
    assert reader.rest()[-1]["exit_code"] == 0
    assert reader.run.wait(PATIENCE)
    assert world.runs.active() == 0
    assert "no disk" in caplog.text
    world.fail_renew = None


def test_a_restart_is_told_before_the_start(world):
    world.running = False
    events = world.read()
    assert [event.get("message", event["type"]) for event in events[:3]] == [
        "starting",
        "started",
        "start",
    ]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"instance_ref": " "}, InvalidArgument),
        ({"instance_ref": "no-such", "kind": "mysql"}, InvalidArgument),
        ({"instance_ref": "no-such", "args": ["-h", "x"], "steps": [{}]}, NotFound),
        ({"instance_ref": IDENT[:8]}, NotFound),
        ({"args": ["-h", "x"], "steps": [{}]}, Conflict),
        ({"args": ["-A"], "steps": [{}]}, InvalidArgument),
    ],
)
def test_errors_come_in_their_order_and_before_anything_happens(world, fields, error):
    with pytest.raises(error) as caught:
        world.open(**fields)
    assert type(caught.value) is error
    assert world.calls == []
    assert world.runs.active() == 0


def test_sessions_are_told_apart_and_the_server_watches_for_their_end(world):
    for _ in range(2):
        world.read()
    names = [environment["PGAPPNAME"] for _, _, environment in world.started]
    assert len(set(names)) == 2
    assert all(name.startswith("psql-") for name in names)
    assert world.started[0][2]["PGOPTIONS"] == "-c client_connection_check_interval=1s"


def test_a_server_that_cannot_watch_is_not_asked_to():
    old = World(major=13)
    old.read()
    assert set(old.started[0][2]) == {"PGAPPNAME"}


def test_steps_share_their_name(world):
    world.read(steps=[{"args": ["-c", "a"]}, {"args": ["-c", "b"]}])
    (first, second) = world.started
    assert first[2] == second[2]
    assert [started[1] for started in world.started] == [["-X", "-c", "a"], ["-X", "-c", "b"]]


@pytest.mark.parametrize(
    ("fields", "started"),
    [
        ({"args": ["-Atc", "select 1"]}, ("psql", ["-X", "-Atc", "select 1"])),
        ({"args": ["-X"]}, ("psql", ["-X", "-X"])),
        ({"kind": "pgbench", "args": ["-i"]}, ("pgbench", ["-i"])),
        ({"command": "pg_dump", "args": ["-s"]}, ("pg_dump", ["-s"])),
        ({"kind": "pgbench", "command": "psql", "args": ["-l"]}, ("psql", ["-X", "-l"])),
    ],
)
def test_psql_reads_no_psqlrc(world, fields, started):
    world.read(**fields)
    assert world.started[0][:2] == started


def test_standard_input_reaches_the_program(world):
    world.script = "cat"
    assert text(world.read(args=["-f", "-"], stdin="select 1;\n")) == "select 1;\n"
    assert text(world.read(stdin="")) == ""
    assert text(world.read(stdin=None)) == ""
    steps = [{"stdin": "one\n"}, {}, {"stdin": "two\n"}]
    assert text(world.read(steps=steps)) == "one\ntwo\n"


def test_the_steps_of_a_run_share_a_directory_that_goes_with_it(world):
    world.script = "if [ -e out.txt ]; then cat out.txt; else echo written > out.txt; fi"
    events = world.read(steps=[{}, {}])
    assert text(events) == "written\n"
    notes = [event["message"] for event in events if event["type"] == "log"]
    assert notes == ["removed with the run's directory: out.txt (an absolute path keeps a file)"]
    assert events[-1]["exit_code"] == 0
    (directory,) = world.directories
    assert not directory.exists()


def test_a_run_that_cannot_start_leaves_no_directory(world):
    world.fail_start = ClusterFailed("cannot run psql")
    with pytest.raises(ClusterFailed):
        world.open()
    (directory,) = world.directories
    assert not directory.exists()


def test_arguments_too_long_for_the_system_are_the_clients_error(world):
    world.fail_start = ClusterFailed("cannot run psql", "Argument list too long")
    world.fail_start.__cause__ = OSError(errno.E2BIG, "Argument list too long")
    with pytest.raises(InvalidArgument, match="too long"):
        world.open(args=["-c", "x"])
    assert world.runs.active() == 0


@pytest.mark.parametrize("cause", [None, OSError(errno.ENOMEM, "no memory")])
def test_other_failures_to_start_are_not(world, cause):
    world.fail_start = ClusterFailed("cannot run psql")
    world.fail_start.__cause__ = cause
    with pytest.raises(ClusterFailed):
        world.open()
    assert world.runs.active() == 0


def test_the_engines_end_ends_the_runs_and_says_so():
    world = World(script="sleep 100")
    readers = [Reader(world.open()) for _ in range(3)]
    unread = world.open()
    assert world.runs.active() == 4
    began = time.monotonic()
    world.runs.shutdown(PATIENCE)
    assert time.monotonic() - began < PATIENCE
    assert world.runs.active() == 0
    for reader in [*readers, Reader(unread)]:
        assert reader.rest()[-1]["error"] == {
            "code": "unavailable",
            "message": ENGINE_STOPPING,
        }
    with pytest.raises(Unavailable):
        world.open()


def test_the_engines_end_is_bounded(caplog):
    world = World(script="sleep 100")
    release = threading.Event()
    world.connect = lambda port, dbname="postgres": release.wait(PATIENCE) and 1 / 0
    run = world.open()
    began = time.monotonic()
    world.runs.shutdown(0.3)
    assert 0.3 <= time.monotonic() - began < PATIENCE
    assert "1 runs have not ended" in caplog.text
    release.set()
    assert run.wait(PATIENCE)


def test_a_run_that_opens_while_the_engine_ends_is_ended():
    world = World(script="sleep 100")
    start = world.client

    def closing(*arguments, **options):
        world.runs.shutdown(0)
        return start(*arguments, **options)

    world.client = closing
    with pytest.raises(Unavailable):
        world.open()
    assert world.runs.active() == 0


# Sessions


def end(world, patience=0.0):
    sessions.end_sessions(world, 20000, "psql-1", patience)


def test_a_run_without_sessions_left_asks_once(world):
    world.read()
    ((terminates, application),) = world.asked
    assert not terminates
    assert application == world.started[0][2]["PGAPPNAME"]
    assert world.connected == 0


def test_sessions_on_their_way_out_are_waited_for(world):
    world.left = [2, 1]
    end(world, patience=PATIENCE)
    assert world.asked == [(False, "psql-1")] * 3


def test_sessions_that_stay_are_terminated(world, monkeypatch):
    monkeypatch.setattr(sessions, "_POLL_SECONDS", 0.02)
    world.left = [1] * 5
    end(world, patience=0.03)
    assert Counter(terminates for terminates, _ in world.asked)[True] >= 3
    assert world.asked[-1] == (True, "psql-1")


def test_sessions_of_a_cancelled_run_are_terminated_at_once(world):
    world.script = "sleep 100"
    world.open().cancel()
    assert [terminates for terminates, _ in world.asked] == [True]


def test_a_session_that_does_not_end_is_reported(world, monkeypatch, caplog):
    monkeypatch.setattr(sessions, "GONE_SECONDS", 0.05)
    world.left = [1] * 1000
    end(world)
    assert "psql-1 does not end" in caplog.text


def test_a_dropped_database_does_not_matter(world):
    world.fail_connect = [ClusterFailed("cannot connect", 'database "postgres" does not exist')]
    end(world)
    assert len(world.asked) == 1


@pytest.mark.parametrize("error", [ClusterFailed("cannot connect", "refused"), FileNotFoundError()])
def test_a_server_that_cannot_be_asked_is_left_alone(world, error):
    world.fail_connect = [error]
    end(world)
    assert world.asked == []
