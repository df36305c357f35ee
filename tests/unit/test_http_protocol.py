"""httpapi.protocol: requests that never become one."""

import json
import socket

import pytest
from http_fakes import Api, serving

from sqlrs_engine.httpapi.protocol import MAX_HEADER_BYTES, GuardedProtocol


@pytest.fixture
def address(tmp_path, monkeypatch):
    monkeypatch.setattr(GuardedProtocol, "header_seconds", 0.2)
    with serving(Api(tmp_path).app) as where:
        yield where


def talk(address, data):
    """Send bytes and return everything that is answered until the connection closes."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def parsed(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"], head


def test_headers_that_do_not_end_are_a_timeout(address):
    status, code, head = parsed(talk(address, b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n"))
    assert (status, code) == (408, "request_timeout")
    assert b"connection: close" in head


def test_a_connection_that_says_nothing_is_closed(address):
    assert talk(address, b"") == b""


def test_what_is_not_http_is_told_so(address):
    status, code, head = parsed(talk(address, b"HELO mail.example\r\n\r\n"))
    assert (status, code) == (400, "invalid_argument")
    assert b"content-type: application/json" in head


def test_headers_have_a_size(address):
    data = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * MAX_HEADER_BYTES
    assert parsed(talk(address, data + b"\r\n\r\n"))[:2] == (400, "invalid_argument")


def test_a_second_request_gets_its_own_time(address):
    request = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = connection.recv(65536)
            while not answer.endswith(b"}\n"):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET /v1/health HTTP/1.1\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_body_may_take_longer_than_the_headers(address):
    head = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
