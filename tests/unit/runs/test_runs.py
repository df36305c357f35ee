"""The runs in progress, with psql played by shell scripts."""

import errno
import threading
import time

import pytest
from support.run_fakes import IDENT, RunsWorld
from support.run_reader import RunReader, text
from support.waiting import PATIENCE

from sqlrs_engine.errors import (
    ENGINE_STOPPING,
    ClusterFailed,
    Conflict,
    InvalidArgument,
    NotFound,
    Unavailable,
)


@pytest.fixture
def world():
    world = RunsWorld()
    yield world
    world.runs.shutdown(PATIENCE)
    assert world.runs.active() == 0


def test_a_run_renews_its_instance_at_its_start_and_at_its_end(world):
    world.read(args=["-c", "select 1"])
    assert world.calls == [("renew", 0), ("ensure_running", IDENT), ("renew", 1)]
    assert world.runs.active() == 0


def test_a_run_by_name_touches_the_name(world):
    world.read(instance_ref="demo")
    assert world.calls[1] == ("touch", "demo")


def test_a_renewal_that_fails_does_not_keep_the_run_active(world, caplog):
    run = world.open()
    world.fail_renew = RuntimeError("no disk")
    reader = RunReader(run)
    assert reader.rest()[-1]["exit_code"] == 0
    assert reader.run.wait(PATIENCE)
    assert world.runs.active() == 0
    assert "no disk" in caplog.text
    world.fail_renew = None


def test_the_restart_of_an_instance_is_logged_before_the_start_event(world):
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


def test_a_server_too_old_to_watch_its_clients_is_not_told_to():
    old = RunsWorld(major=13)
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
def test_other_failures_to_start_are_the_engines_error(world, cause):
    world.fail_start = ClusterFailed("cannot run psql")
    world.fail_start.__cause__ = cause
    with pytest.raises(ClusterFailed):
        world.open()
    assert world.runs.active() == 0


def test_the_engines_end_ends_the_runs_and_says_so():
    world = RunsWorld(script="sleep 100")
    readers = [RunReader(world.open()) for _ in range(3)]
    unread = world.open()
    assert world.runs.active() == 4
    began = time.monotonic()
    world.runs.shutdown(PATIENCE)
    assert time.monotonic() - began < PATIENCE
    assert world.runs.active() == 0
    for reader in [*readers, RunReader(unread)]:
        assert reader.rest()[-1]["error"] == {
            "code": "unavailable",
            "message": ENGINE_STOPPING,
        }
    with pytest.raises(Unavailable):
        world.open()


def test_the_engines_end_is_bounded(caplog):
    world = RunsWorld(script="sleep 100")
    release = threading.Event()
    world.connect_to_any = lambda port: release.wait(PATIENCE) and 1 / 0
    run = world.open()
    began = time.monotonic()
    world.runs.shutdown(0.3)
    assert 0.3 <= time.monotonic() - began < PATIENCE
    assert "1 runs have not ended" in caplog.text
    release.set()
    assert run.wait(PATIENCE)


def test_a_run_that_opens_while_the_engine_ends_is_ended():
    world = RunsWorld(script="sleep 100")
    start = world.client

    def closing(*arguments, **options):
        world.runs.shutdown(0)
        return start(*arguments, **options)

    world.client = closing
    with pytest.raises(Unavailable):
        world.open()
    assert world.runs.active() == 0
