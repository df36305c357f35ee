"""httpapi: runs over HTTP. Shell scripts stand for psql, a real server serves."""

import json
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import httpx
import jsonschema
import psutil
import pytest
from support.http_fakes import TOKEN, Api, services, serving
from support.waiting import PATIENCE, eventually

from sqlrs_engine.errors import ENGINE_STOPPING, Conflict, InvalidArgument, NotFound, Unavailable
from sqlrs_engine.httpapi import spec
from sqlrs_engine.runs import Run

AUTH = {"Authorization": f"Bearer {TOKEN}"}
IDENT = "cd" * 16


class ShellRuns:
    """Runs the arguments as shell scripts, one step each."""

    def __init__(self):
        self.bodies = []
        self.processes = []
        self.made = []
        self.error = None

    def open(self, body):
        self.bodies.append(body)
        if self.error:
            raise self.error
        steps = body.get("steps") or [body]
        run = Run(IDENT, [self.launch((step.get("args") or ["true"])[0]) for step in steps])
        self.made.append(run)
        return run

    def launch(self, script):
        def start():
            process = subprocess.Popen(
                ["/bin/sh", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            self.processes.append(process)
            return process

        return start

    def close(self):
        for run in self.made:
            run.cancel()
            assert run.wait(0)


@pytest.fixture
def runs():
    runs = ShellRuns()
    yield runs
    runs.close()


@pytest.fixture
def api(tmp_path, runs):
    return Api(tmp_path, services=services(tmp_path, runs=runs), max_streams=4)


@pytest.fixture
def address(api):
    with serving(api.app) as address:
        yield address


@pytest.fixture
def live(address):
    host, port = address
    with httpx.Client(base_url=f"http://{host}:{port}", headers=AUTH, timeout=PATIENCE) as client:
        yield client


def body(script="true", **fields):
    return {"instance_ref": "demo", "kind": "psql", "args": [script], **fields}


def run(client, script="true", **fields):
    """Run a script to its end and return its events."""
    response = client.post("/v1/runs", json=body(script, **fields))
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def text(events, kind="stdout"):
    return "".join(event["data"] for event in events if event["type"] == kind)


@contextmanager
def open_run(address, script):
    """Ask for a run over a bare connection; yields it with a file to read from."""
    data = json.dumps(body(script)).encode()
    head = (
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(address) as connection, connection.makefile("rb") as file:
        connection.sendall(head.encode() + data)
        yield connection, file


def read_until(file, word):
    for line in file:
        if word in line:
            return line
    raise AssertionError(f"no {word}")


def test_a_run_is_a_stream_of_lines(live):
    response = live.post("/v1/runs", json=body("echo out; echo err >&2; exit 3"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in response.headers
    assert response.text.endswith("\n")
    events = [json.loads(line) for line in response.text.splitlines()]
    assert events[0]["type"] == "start"
    assert events[0]["instance_id"] == IDENT
    assert text(events) == "out\n"
    assert text(events, "stderr") == "err\n"
    assert events[-1]["type"] == "exit"
    assert events[-1]["exit_code"] == 3


def test_the_events_of_a_run_match_the_document(live, runs):
    schemas = spec.document()["components"]["schemas"]
    schema = {**schemas["RunEvent"], "components": {"schemas": schemas}}
    check = jsonschema.Draft4Validator(schema)
    events = run(live, "echo out; echo err >&2; kill -9 $$")
    with open_run((live.base_url.host, live.base_url.port), "sleep 100") as (_, file):
        read_until(file, b'"start"')
        runs.made[-1].interrupt(Unavailable(ENGINE_STOPPING))
        events.append(json.loads(read_until(file, b'"error"')))
    assert {event["type"] for event in events} == {"start", "stdout", "stderr", "exit", "error"}
    for event in events:
        check.validate(event)
    assert events[-1]["error"]["message"] == ENGINE_STOPPING


def test_output_is_sent_at_once(live, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f"echo first; read x <{gate}; echo second"
    with live.stream("POST", "/v1/runs", json=body(script)) as response:
        lines = response.iter_lines()
        assert json.loads(next(lines))["type"] == "start"
        assert json.loads(next(lines))["data"] == "first\n"
        gate.write_text("go\n")
        assert json.loads(next(lines))["data"] == "second\n"


def test_lines_of_a_run_are_shorter_than_64_kib(live):
    response = live.post("/v1/runs", json=body(r"head -c 300000 /dev/zero | tr '\0' '\1'"))
    lines = response.content.splitlines()
    assert max(map(len, lines)) < 64 * 1024
    assert len(text(map(json.loads, lines))) == 300_000


def test_long_output_arrives_complete(live):
    assert text(run(live, "seq 200000")) == "".join(f"{n}\n" for n in range(1, 200_001))


def test_steps_run_until_one_fails(live, runs):
    steps = [{"args": ["echo one"]}, {"args": ["echo two; exit 2"]}, {"args": ["echo three"]}]
    events = run(live, args=[], steps=steps)
    assert text(events) == "one\ntwo\n"
    assert events[-1]["exit_code"] == 2
    assert len(runs.processes) == 2


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidArgument("no"), 400, "invalid_argument"),
        (NotFound("instance not found", "demo"), 404, "not_found"),
        (Conflict("conflicting psql connection arguments", "-h"), 409, "conflict"),
        (Unavailable(ENGINE_STOPPING), 503, "unavailable"),
    ],
)
def test_a_run_that_cannot_start_is_an_error(api, runs, error, status, code):
    runs.error = error
    for _ in range(6):  # more than there are streams
        response = api.post("/v1/runs", body())
        assert response.status_code == status
        assert response.headers["content-type"] == "application/json"
        assert response.json() == error.as_dict()
        assert response.json()["code"] == code


# What the sqlrs command line sent when it was recorded.
RECORDED = [
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"psql","args":[],'
    '"steps":[{"args":["-c","select 1"]},{"args":["-f","-"],"stdin":"select 1;\\n"}]}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"psql","args":[],'
    '"steps":[{"args":["-v","ON_ERROR_STOP=1","-c","select nope"]}]}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"pgbench","args":["-i","-s","1"]}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"pgbench",'
    '"args":["-n","-f","/dev/stdin","-t","5"],"stdin":"select 1;\\n"}',
]


@pytest.mark.parametrize("recorded", RECORDED)
def test_the_command_lines_requests_reach_the_service(api, runs, recorded):
    runs.error = NotFound("instance not found")
    headers = {
        "User-Agent": "Go-http-client/1.1",
        "Content-Type": "application/json",
        "Accept-Encoding": "gzip",
    }
    assert api.post("/v1/runs", content=recorded, headers=headers).status_code == 404
    assert runs.bodies == [json.loads(recorded)]


@pytest.mark.parametrize("script", ["sleep 100", "yes", "yes | sleep 100"])
def test_a_client_that_disconnects_ends_the_run(address, runs, api, script):
    with open_run(address, f"echo here; {script}") as (_, file):
        read_until(file, b"here")
        (process,) = runs.processes
        assert process.poll() is None
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    eventually(lambda: process.returncode is not None)
    eventually(lambda: not any(map(lives, family)))
    eventually(lambda: api.app.activity.open_requests == 0)


def test_a_client_may_disconnect_after_the_exit_event(address, runs, api):
    for _ in range(5):
        with open_run(address, "echo here") as (_, file):
            read_until(file, b'"exit"')
    assert [process.returncode for process in runs.processes] == [0] * 5
    eventually(lambda: api.app.activity.open_requests == 0)


def test_a_client_that_does_not_read_blocks_the_program(address, runs):
    with open_run(address, "exec yes") as (_, file):
        read_until(file, b'"start"')
        (process,) = runs.processes
        written, since = 0, time.monotonic()

        def stalled():
            nonlocal written, since
            if (now := progress(process)) != written:
                written, since = now, time.monotonic()
            return time.monotonic() - since > 0.3

        eventually(stalled, "no more progress")
        assert 0 < written < 50_000_000  # the sockets' own buffers take some megabytes
        while progress(process) == written:
            file.read(100_000)
    eventually(lambda: process.returncode is not None)


def test_runs_count_as_open_streams(address, runs, live):
    opened = [open_run(address, "sleep 100") for _ in range(4)]
    for each in opened:
        read_until(each.__enter__()[1], b'"start"')
    response = live.post("/v1/runs", json=body())
    assert response.status_code == 503
    assert response.json()["code"] == "unavailable"
    for each in opened:
        each.__exit__(None, None, None)
    eventually(lambda: all(process.returncode is not None for process in runs.processes))
    assert run(live)[-1]["exit_code"] == 0


def test_runs_are_concurrent(live, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    results = []
    waiting = threading.Thread(target=lambda: results.extend(run(live, f"read x <{gate}")))
    waiting.start()
    try:
        assert run(live, "echo quick")[-1]["exit_code"] == 0
        assert not results
    finally:
        gate.write_text("go\n")
        waiting.join()
    assert results[-1]["exit_code"] == 0


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def progress(process):
    """Return how many bytes a process has written."""
    return psutil.Process(process.pid).io_counters().write_chars
