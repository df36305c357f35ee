"""httpapi.protocol: requests that never become one."""

import contextlib
import json
import socket
import threading

import pytest
from support.http_fakes import TOKEN, Api, serving
from support.waiting import eventually

from sqlrs_engine.httpapi import uvicorn_protocol
from sqlrs_engine.httpapi.uvicorn_protocol import MAX_HEADER_BYTES, GuardedProtocol


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setattr(GuardedProtocol, "header_seconds", 60)
    with serving(Api(tmp_path).app) as where:
        yield where


def talk(address, data):
    """Send bytes and return everything that is answered until the connection closes."""
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def parsed(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"], head


def test_a_connection_over_the_limit_is_answered_and_closed(address, monkeypatch):
    monkeypatch.setattr(GuardedProtocol, "max_connections", 2)
    with contextlib.ExitStack() as others:
        for _ in range(2):
            others.enter_context(socket.create_connection(address))
        status, code, head = parsed(talk(address, b""))
    assert (status, code) == (503, "unavailable")
    assert b"connection: close" in head


def test_far_too_many_connections_are_closed_without_an_answer(address, monkeypatch):
    monkeypatch.setattr(GuardedProtocol, "max_connections", 1)
    monkeypatch.setattr(GuardedProtocol, "max_refused", 2)
    monkeypatch.setattr(uvicorn_protocol, "LINGER_SECONDS", 60)
    with contextlib.ExitStack() as others:
        others.enter_context(socket.create_connection(address))
        for _ in range(2):
            refused = others.enter_context(socket.create_connection(address, timeout=60))
            assert refused.recv(65536).startswith(b"HTTP/1.1 503 ")
        last = others.enter_context(socket.create_connection(address, timeout=60))
        with contextlib.suppress(ConnectionResetError):
            assert last.recv(65536) == b""


def test_headers_that_do_not_end_time_out(address, monkeypatch):
    # Counted from the connection: a busy machine may send nothing within it, and gets no answer.
    monkeypatch.setattr(GuardedProtocol, "header_seconds", 0.3)
    answers = []

    def answered():
        answers.append(talk(address, b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"))
        return answers[-1]

    eventually(answered, "an answer")
    status, code, head = parsed(answers[-1])
    assert (status, code) == (408, "request_timeout")
    assert b"connection: close" in head


def test_a_silent_connection_is_closed(address, monkeypatch):
    monkeypatch.setattr(GuardedProtocol, "header_seconds", 0.2)
    assert talk(address, b"") == b""


def test_a_request_that_is_not_http_is_answered(address):
    status, code, head = parsed(talk(address, b"HELO mail.example\r\n\r\n"))
    assert (status, code) == (400, "invalid_argument")
    assert b"content-type: application/json" in head


def test_a_header_that_is_too_large_is_refused(address):
    data = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * MAX_HEADER_BYTES
    assert parsed(talk(address, data + b"\r\n\r\n"))[:2] == (431, "headers_too_large")


def test_small_headers_that_are_too_large_together_are_refused(address):
    data = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * MAX_HEADER_BYTES
    assert parsed(talk(address, data))[:2] == (431, "headers_too_large")


@pytest.mark.parametrize(
    "start",
    [
        b"GET /v1/health HTTP/1.1\r\nX: ",
        b"POST /v1/runs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        b"POST /v1/runs HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=",
    ],
    ids=["header", "trailer", "extension"],
)
def test_an_endless_header_is_refused(address, start):
    sent = 0
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(start)
        with contextlib.suppress(ConnectionError):
            while sent < 100 * 1024 * 1024:
                connection.sendall(b"x" * 65536)
                sent += 65536
    assert sent < 100 * 1024 * 1024


def test_a_body_that_arrives_with_the_last_header_is_no_header(address):
    body = PREPARE + b" " * 200_000
    data = request("POST", "/v1/prepare-jobs", sized(body), body=body) + LAST
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(data[:50])
        connection.sendall(data[50:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [201, 200]


def test_a_request_without_a_host_is_refused(address):
    data = b"GET /v1/health HTTP/1.1\r\nConnection: close\r\n\r\n"
    assert parsed(talk(address, data))[:2] == (400, "invalid_argument")


def test_a_second_request_has_its_own_time_limit(address, monkeypatch):
    request = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(address, timeout=60) as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = connection.recv(65536)
            while not answer.endswith(b"}\n"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(GuardedProtocol, "header_seconds", 0.2)
        connection.sendall(b"GET /v1/health HTTP/1.1\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


PREPARE = b'{"prepare_kind": "psql", "image_id": "postgres", "psql_args": ["-c", "select 1"]}'
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n"


def request(method, path, *fields, body=b""):
    """A request with the token, as bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    return b"".join([head.encode(), *fields, b"\r\n", body])


def sized(body):
    return b"Content-Length: %d\r\n" % len(body)


def chunked(body, trailers=b""):
    half = len(body) // 2
    parts = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:])]
    return b"".join([*parts, b"0\r\n", trailers, b"\r\n"])


def statuses(address, data):
    """The statuses of all answers to what is sent; the last request closes the connection."""
    return [int(part[:3]) for part in talk(address, data).split(b"HTTP/1.1 ")[1:]]


LAST = request("GET", "/v1/health", b"Connection: close\r\n")


@pytest.mark.parametrize(
    "framed",
    [
        (sized(PREPARE), PREPARE),
        (b"Transfer-Encoding: chunked\r\n", chunked(PREPARE)),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
def test_the_body_of_a_request_to_upgrade_is_read(address, framed, pieces):
    field, body = framed
    data = request("POST", "/v1/prepare-jobs", UPGRADE, field, body=body) + LAST
    step = -(-len(data) // pieces)
    with socket.create_connection(address, timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), step):
            connection.sendall(data[start : start + step])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [201, 200]


def test_the_time_limit_of_headers_does_not_apply_to_the_body(address, monkeypatch):
    with socket.create_connection(address, timeout=60) as connection:
        connection.sendall(request("GET", "/v1/health"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        monkeypatch.setattr(GuardedProtocol, "header_seconds", 0.1)
        connection.sendall(request("POST", "/v1/prepare-jobs", sized(PREPARE), body=PREPARE[:9]))
        threading.Event().wait(0.3)  # the time that it takes
        connection.sendall(PREPARE[9:])
        answer = connection.recv(65536)
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
    assert b"HTTP/1.1 201 " in answer


def test_the_rest_of_a_refused_body_is_not_awaited(tmp_path):
    head = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    with (
        serving(Api(tmp_path).app, keep_alive=1) as address,
        socket.create_connection(address, timeout=60) as connection,
    ):
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x")
            while connection.recv(65536):
                pass


def test_a_request_to_upgrade_without_a_body_keeps_the_connection(address):
    wish = request("GET", "/v1/health", UPGRADE)
    assert statuses(address, wish + wish + LAST) == [200, 200, 200]


def test_many_requests_to_upgrade_at_once_are_all_answered(address):
    wish = request("GET", "/v1/health", UPGRADE)
    assert statuses(address, wish * 1200 + LAST) == [200] * 1201


@pytest.mark.parametrize(
    "trailer", [b"Origin: https://evil.example", b"Content-Type: text/plain", b"Host: evil"]
)
def test_trailers_are_no_headers(address, trailer):
    body = chunked(PREPARE, trailer + b"\r\n")
    field = b"Transfer-Encoding: chunked\r\n"
    data = request("POST", "/v1/prepare-jobs", field, body=body)
    assert statuses(address, data + LAST) == [201, 200]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/health", 200),
        ("GET", "/v1/prepare-jobs", 200),
        ("GET", "/v1/prepare-jobs/{job}", 200),
        ("GET", "/v1/prepare-jobs/{job}/events", 200),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/names", 405),
    ],
)
def test_no_answer_may_be_cached_or_sniffed(tmp_path, method, path, status):
    api = Api(tmp_path)
    response = api(method, path.format(job=api.prepare("-c", "select 1")))
    assert response.status_code == status
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_no_answer_of_the_protocol_may_be_cached_or_sniffed(address):
    _, _, head = parsed(talk(address, b"HELO mail.example\r\n\r\n"))
    assert b"cache-control: no-store" in head
