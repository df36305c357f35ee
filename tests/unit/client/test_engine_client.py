"""The client: to whom it speaks before it sends its token."""

import http.server
import json
import os
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sqlrs_engine import auth
from sqlrs_engine.client import engine_client
from sqlrs_engine.client.engine_client import EngineClient
from sqlrs_engine.daemon import engine_file
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.errors import Unavailable

TOKEN = "the token"
Answer = Callable[[str], Any]


class Program(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A program that listens and answers every request with what ``answer`` makes of it."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.heard: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Program

    def do_GET(self) -> None:
        self.server.heard.append((self.path, self.headers.get("Authorization")))
        body = json.dumps(self.server.answer(self.path)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent."""


@pytest.fixture
def listening() -> Iterator[Callable[[Answer], Program]]:
    programs: list[Program] = []

    def start(answer: Answer) -> Program:
        program = Program(answer)
        programs.append(program)
        threading.Thread(target=program.serve_forever, args=(0.01,), daemon=True).start()
        return program

    yield start
    for program in programs:
        program.shutdown()
        program.server_close()


def challenge(path: str) -> str:
    return parse_qs(urlsplit(path).query).get("challenge", [""])[0]


def honest(path: str) -> Any:
    return {"instanceId": "mine", "proof": auth.proof(TOKEN, challenge(path))}


IMPOSTORS: dict[str, Answer] = {
    "says nothing": lambda path: {"ok": True, "instanceId": "mine"},
    "knows another token": lambda path: {"proof": auth.proof("other", challenge(path))},
    "repeats the challenge": lambda path: {"proof": challenge(path)},
    "answers another challenge": lambda path: {"proof": auth.proof(TOKEN, "0" * 64)},
    "has no object around it": lambda path: ["proof"],
    "has no text": lambda path: {"proof": None},
}


@pytest.mark.parametrize("answer", IMPOSTORS.values(), ids=IMPOSTORS)
def test_a_program_in_the_engines_place_never_gets_the_token(
    listening: Callable[[Answer], Program], answer: Answer
) -> None:
    impostor = listening(answer)
    with EngineClient(impostor.url, TOKEN) as engine:
        with pytest.raises(Unavailable, match="another program answers"):
            engine.call("GET", "/prepare-jobs", body={"psql_args": ["-c", "my script"]})
        with pytest.raises(Unavailable, match="another program answers"):
            next(engine.events("job"))
    assert len(impostor.heard) == 2
    for path, authorization in impostor.heard:
        assert path.startswith("/v1/health?challenge=")
        assert authorization is None


def test_a_server_that_speaks_no_http_never_gets_the_token() -> None:
    heard = b""

    class Raw(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            nonlocal heard
            heard = self.request.recv(65536)
            self.wfile.write(b"SSH-2.0-OpenSSH\r\n")

    with socketserver.TCPServer(("127.0.0.1", 0), Raw) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with EngineClient(url, TOKEN) as engine, pytest.raises(Unavailable):
            engine.get("/names")
    assert TOKEN.encode() not in heard


def test_an_engine_that_proves_itself_is_sent_the_token_after_it(
    listening: Callable[[Answer], Program],
) -> None:
    engine = listening(honest)
    with EngineClient(engine.url, TOKEN) as connection:
        connection.get("/names")
        connection.get("/states")
    challenged = [path.startswith("/v1/health?challenge=") for path, _ in engine.heard]
    assert challenged[0]
    # Between the two a busy machine may have let the connection grow too old, and had another.
    asked = [each for each, was in zip(engine.heard, challenged, strict=True) if not was]
    assert asked == [("/v1/names", f"Bearer {TOKEN}"), ("/v1/states", f"Bearer {TOKEN}")]
    assert {token for (_, token), was in zip(engine.heard, challenged, strict=True) if was} == {
        None
    }


@pytest.mark.parametrize(
    ("answer", "found"), [(honest, True), (IMPOSTORS["says nothing"], False)], ids=["it", "another"]
)
def test_an_engine_file_left_behind_is_not_believed(
    listening: Callable[[Answer], Program], tmp_path: Path, answer: Answer, found: bool
) -> None:
    # The pid is of a live process and the port is open, as after a reboot.
    program = listening(answer)
    record = EngineRecord(
        endpoint=program.url.removeprefix("http://"),
        pid=os.getpid(),
        started_at="2026-01-01T00:00:00Z",
        auth_token=TOKEN,
        version="dev",
        instance_id="mine",
    )
    tmp_path.chmod(0o700)
    engine_file.write(tmp_path / "engine.json", record)
    assert (engine_client.find(tmp_path / "engine.json") is not None) == found
    assert (f"Bearer {TOKEN}" in [authorization for _, authorization in program.heard]) == found


def test_an_engine_that_does_not_start_is_told_of_at_once_beside_a_file_left_behind(
    listening: Callable[[Answer], Program], tmp_path: Path
) -> None:
    program = listening(IMPOSTORS["says nothing"])
    record = EngineRecord(
        endpoint=program.url.removeprefix("http://"),
        pid=os.getpid(),
        started_at="2026-01-01T00:00:00Z",
        auth_token=TOKEN,
        version="dev",
        instance_id="gone",
    )
    engine_file.write(tmp_path / "engine.json", record)
    store = tmp_path / "store"
    store.touch()  # what is no directory is no store
    environ = {"PATH": os.defpath, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with pytest.raises(Unavailable, match=r"did not start: .*state store is not a directory"):
        engine_client.connect_or_start(
            tmp_path / "engine.json", store, idle_timeout=60, environ=environ
        )
