"""The daemon as clients find, start and drop it."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from support.fix_engine import EngineFactory, EngineProcess, environment
from support.waiting import eventually

HEX64 = re.compile(r"[0-9a-f]{64}")
HEX32 = re.compile(r"[0-9a-f]{32}")


def run_daemon(state_dir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a daemon that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "sqlrs_engine", *flags],
        env=environment(state_dir),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_engine_json_leads_to_the_running_engine(shared_engine: EngineProcess) -> None:
    fields = json.loads(shared_engine.endpoint_file.read_text())
    assert set(fields) == {
        "endpoint",
        "pid",
        "startedAt",
        "authToken",
        "version",
        "instanceId",
        "stateStore",
    }
    assert fields["stateStore"] == str(shared_engine.store)
    assert fields["pid"] == shared_engine.process.pid
    assert fields["version"] == "dev"
    assert HEX64.fullmatch(fields["authToken"])
    assert HEX32.fullmatch(fields["instanceId"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", fields["endpoint"])
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]{8}\.\d+Z", fields["startedAt"])
    health = httpx.get(f"http://{fields['endpoint']}/v1/health").json()
    assert health == {
        "ok": True,
        "version": "dev",
        "instanceId": fields["instanceId"],
        "pid": fields["pid"],
    }


def test_everything_in_the_state_directory_is_private(shared_engine: EngineProcess) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    assert mode(shared_engine.endpoint_file) == 0o600
    assert mode(shared_engine.state_dir / "logs" / "engine.log") == 0o600
    assert mode(shared_engine.store) == 0o700
    assert mode(shared_engine.state_dir / "run") == 0o700


def test_only_health_is_open(shared_engine: EngineProcess) -> None:
    for headers in ({}, {"Authorization": "Bearer nope"}, {"Authorization": "Bearer"}):
        answer = httpx.get(f"{shared_engine.base_url}/v1/prepare-jobs", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert shared_engine.call("GET", "/v1/prepare-jobs").status_code == 200


def test_the_token_is_never_logged(shared_engine: EngineProcess) -> None:
    shared_engine.call("GET", "/v1/names")
    # A request is logged after its answer is sent.
    eventually(lambda: "/v1/names" in shared_engine.log, "the request's line")
    assert shared_engine.token not in shared_engine.log


def test_the_daemon_prints_nothing_when_all_is_well(engine: EngineProcess) -> None:
    assert engine.stop() == 0
    assert engine.output() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_daemon_cleanly(engine: EngineProcess, number: signal.Signals) -> None:
    assert engine.stop(number) == 0
    assert not engine.endpoint_file.exists()


def test_a_signal_during_the_start_ends_the_daemon_cleanly(engine_factory: EngineFactory) -> None:
    engine = engine_factory()
    engine.spawn()
    eventually(engine.endpoint_file.exists, "engine.json")
    assert engine.stop() == 0
    assert not engine.endpoint_file.exists()


def test_an_open_connection_does_not_delay_the_end(engine: EngineProcess) -> None:
    with engine.client() as client:
        assert client.get("/v1/names").status_code == 200
        assert engine.stop(timeout=20) == 0


def test_an_idle_daemon_ends(engine_factory: EngineFactory) -> None:
    engine = engine_factory("--idle-timeout", "3s").start()
    assert engine.process.wait(60) == 0
    assert not engine.endpoint_file.exists()


def test_a_stale_engine_json_is_replaced(engine: EngineProcess) -> None:
    engine.stop(signal.SIGKILL)
    stale = engine.record
    engine.start()
    assert engine.record.instance_id != stale.instance_id
    assert engine.record.auth_token != stale.auth_token
    assert engine.call("GET", "/v1/names").status_code == 200


def test_another_engines_file_is_left_alone_at_the_end(engine: EngineProcess) -> None:
    fields = json.loads(engine.endpoint_file.read_text())
    engine.endpoint_file.write_text(json.dumps({**fields, "instanceId": "f" * 32}))
    assert engine.stop() == 0
    assert engine.endpoint_file.exists()


def test_a_second_engine_on_the_store_says_who_holds_it(
    engine: EngineProcess, engine_factory: EngineFactory
) -> None:
    before = engine.endpoint_file.read_bytes()
    second = engine_factory(state_dir=engine.state_dir)
    second.spawn()
    assert second.process.wait(30) == 1
    output = second.output()
    assert output.count("\n") == 1
    assert f"held by pid {engine.process.pid} since 2" in output
    assert engine.endpoint_file.read_bytes() == before
    assert engine.call("GET", "/v1/names").status_code == 200


def test_the_store_may_be_elsewhere(engine_factory: EngineFactory, tmp_path: Path) -> None:
    store = tmp_path / "elsewhere"
    engine = engine_factory(environ={"SQLRS_STATE_STORE": str(store)}).start()
    assert (store / "state.db").exists()
    assert not (engine.state_dir / "store").exists()


def test_two_engines_with_stores_of_their_own(
    engine: EngineProcess, engine_factory: EngineFactory
) -> None:
    other = engine_factory().start()
    assert other.call("GET", "/v1/names").status_code == 200
    assert engine.call("GET", "/v1/names").status_code == 200


def test_odd_spellings_of_the_flags(engine_factory: EngineFactory, tmp_path: Path) -> None:
    engine = engine_factory(cwd=tmp_path)
    engine.command = [
        *engine.command[:3],
        "-listen=localhost:0",
        f"-write-engine-json={os.path.relpath(engine.endpoint_file, tmp_path)}",
        "-version",
        "v1.2.3",
    ]
    assert engine.start().record.version == "v1.2.3"


@pytest.mark.parametrize(
    "flags",
    [["--nope"], ["--listen", "127.0.0.1:0"], ["--write-engine-json", "x"]],
)
def test_wrong_flags_exit_with_2(tmp_path: Path, flags: list[str]) -> None:
    ended = run_daemon(tmp_path, *flags)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)


def test_an_address_in_use_exits_with_1(tmp_path: Path, shared_engine: EngineProcess) -> None:
    file = tmp_path / "state" / "engine.json"
    taken = shared_engine.record.endpoint
    ended = run_daemon(tmp_path, "--listen", taken, "--write-engine-json", str(file))
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert f"cannot listen on {taken}" in ended.stderr
    assert not file.exists()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"])
def test_an_impossible_address_exits_with_1(tmp_path: Path, address: str) -> None:
    file = tmp_path / "state" / "engine.json"
    ended = run_daemon(tmp_path, "--listen", address, "--write-engine-json", str(file))
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


def test_an_unusable_database_exits_with_1(tmp_path: Path) -> None:
    store = tmp_path / "state" / "state-store"
    store.mkdir(parents=True)
    (store / "state.db").write_text("this is no database, whatever its name says" * 40)
    file = tmp_path / "state" / "engine.json"
    ended = run_daemon(tmp_path, "--listen", "127.0.0.1:0", "--write-engine-json", str(file))
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert "state.db" in ended.stderr
    assert not file.exists()


def test_the_log_level_follows_the_configuration(engine: EngineProcess) -> None:
    body = {"path": "log.level", "value": "error"}
    assert engine.call("PATCH", "/v1/config", json=body).status_code == 200
    engine.call("GET", "/v1/names")
    assert "/v1/names" not in engine.log


@pytest.mark.postgres
def test_libpq_variables_of_the_user_change_nothing(engine_factory: EngineFactory) -> None:
    surroundings = {
        "PGHOST": "192.0.2.1",
        "PGSERVICE": "none",
        "PGOPTIONS": "-c default_transaction_read_only=on",
        "PGREQUIREAUTH": "gss",
    }
    engine = engine_factory("--idle-timeout", "0", environ=surroundings).start()
    assert engine.prepare("-c", "create table t (n int)")["dsn"].startswith("postgres://")


def test_bytes_that_are_not_http_get_the_error_envelope(shared_engine: EngineProcess) -> None:
    host, port = shared_engine.record.endpoint.split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"HELO mail.example\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":"invalid_argument"' in answer


@pytest.mark.slow
def test_headers_that_never_end_are_cut_off(shared_engine: EngineProcess) -> None:
    host, port = shared_engine.record.endpoint.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


def test_a_low_limit_of_open_files_is_raised_and_bounds_the_connections(
    engine_factory: EngineFactory,
) -> None:
    engine = engine_factory("--idle-timeout", "0")
    limits = 'ulimit -Sn 64; ulimit -Hn 200; exec "$@"'
    engine.command = ["sh", "-c", limits, "sh", *engine.command]
    engine.start()
    assert engine.prepare("-c", "select 1")["state_id"]
    address = ("127.0.0.1", int(engine.record.endpoint.rpartition(":")[2]))

    def refused() -> bool:
        # Silent connections are not kept for long.
        with engine.client() as first, contextlib.ExitStack() as others:
            if first.get("/v1/health").status_code != 200:
                return False
            for _ in range(110):
                others.enter_context(socket.create_connection(address))
            answer = engine.call("GET", "/v1/health")
            assert first.get("/v1/states").status_code == 200
        return answer.status_code == 503 and answer.json()["code"] == "unavailable"

    def served() -> bool:
        return engine.call("GET", "/v1/health").status_code == 200

    def quietly(asked: Callable[[], bool]) -> bool:
        # While those of the last try are still there, a connection may be reset unanswered.
        try:
            return asked()
        except httpx.TransportError:
            return False

    eventually(lambda: quietly(refused), "a refusal")
    eventually(lambda: quietly(served), "an answer after it")
    assert "files and connections" in engine.log
