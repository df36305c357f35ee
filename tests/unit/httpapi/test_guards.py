"""httpapi.guards: Host, Origin, text, size and speed of requests."""

import asyncio
import json

import httpx
import pytest
from support.http_fakes import TOKEN, Api

from sqlrs_engine.httpapi.guards import Guards

AUTH = {"Authorization": f"Bearer {TOKEN}"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path, max_body=2000, allowed_hosts=["engine.test"])


def code(response):
    """The error's code; every failure has the envelope."""
    assert response.headers["content-type"] == "application/json"
    envelope = response.json()
    assert {"code", "message"} <= envelope.keys() <= {"code", "message", "details"}
    return response.status_code, envelope["code"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:80", "[::1]:7333", "engine.test:1"]
)
def test_a_request_to_a_known_host_is_served(api, host):
    assert api.get("/v1/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil", "localhost:x", "127.0.0.2"],
)
def test_a_request_to_an_unknown_host_is_misdirected(api, host):
    response = api.get("/v1/names", headers={"Host": host})
    assert code(response) == (421, "misdirected_request")


def test_two_host_headers_are_refused(api):
    headers = [("Host", "localhost"), ("Host", "evil.example")]

    async def call():
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get("/v1/health", headers=headers)

    assert code(asyncio.run(call())) == (400, "invalid_argument")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:7333"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_web_page_is_refused_even_with_the_token(api, headers):
    assert code(api.get("/v1/names", headers=headers)) == (403, "forbidden")
    assert code(api("OPTIONS", "/v1/names", headers=headers)) == (403, "forbidden")


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_an_address_typed_into_a_browser_is_served(api, site):
    assert api.get("/v1/health", headers={"Sec-Fetch-Site": site}).status_code == 200


def test_no_answer_has_cors_headers(api):
    for response in (api.get("/v1/health"), api("OPTIONS", "/v1/names")):
        assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/v1/names/a%00b", "/v1/names/%ff", "/v1/names?state=%c3"])
def test_a_path_or_query_that_is_no_text_is_refused(api, path):
    assert code(api.get(path)) == (400, "invalid_argument")


def test_a_declared_body_that_is_too_large_is_not_read(api):
    asked = []

    async def receive():
        asked.append(True)
        return {"type": "http.request", "body": b"x" * 2001}

    response = raw(api.app, receive, [(b"content-length", b"2001")])
    assert response["status"] == 413
    assert (b"connection", b"close") in response["headers"]
    assert asked == []


def test_a_body_of_undeclared_size_is_read_up_to_the_limit(api):
    asked = []

    async def receive():
        asked.append(True)
        return {"type": "http.request", "body": b" " * 900, "more_body": True}

    response = raw(api.app, receive, [(b"transfer-encoding", b"chunked")])
    assert response["status"] == 413
    assert len(asked) == 3


def test_a_chunked_body_within_the_limit_is_read(api):
    chunks = [b'{"prepare_kind":"psql",', b'"image_id":"postgres"}']

    async def receive():
        body = chunks.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(chunks)}

    assert raw(api.app, receive, [(b"transfer-encoding", b"chunked")])["status"] == 201


def test_a_body_that_does_not_arrive_times_out(tmp_path):
    api = Api(tmp_path, body_seconds=0.05)

    async def receive():
        await asyncio.sleep(60)

    response = raw(api.app, receive, [(b"content-length", b"10")])
    assert response["status"] == 408
    assert json.loads(response["body"])["code"] == "request_timeout"


def test_a_client_that_disconnects_gets_no_answer(api):
    async def receive():
        return {"type": "http.disconnect"}

    assert raw(api.app, receive, [(b"content-length", b"10")]) == {}


@pytest.mark.parametrize("length", [b"-1", b"ten", b"+5"])
def test_a_content_length_that_is_no_number_is_refused(api, length):
    assert raw(api.app, None, [(b"content-length", length)])["status"] == 400


def test_the_time_limit_of_a_body_ends_with_the_body():
    messages = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]
    seen = []

    async def receive():
        if len(messages) == 1:
            await asyncio.sleep(0.1)
        return messages.pop(0)

    async def inner(_scope, bounded, _send):
        seen.extend([await bounded(), await bounded()])

    scope = {"headers": [(b"host", b"localhost"), (b"content-length", b"1")], "query_string": b""}
    asyncio.run(Guards(inner, body_seconds=0.02)(scope, receive, None))
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]


def raw(app, receive, headers):
    """POST a job at the ASGI level; return status, headers and body of the answer, if any."""
    answer = {}
    base = {"host": "localhost", "content-type": "application/json"}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/prepare-jobs",
        "raw_path": b"/v1/prepare-jobs",
        "query_string": b"",
        "headers": [(k.encode(), v.encode()) for k, v in base.items()]
        + [(b"authorization", f"Bearer {TOKEN}".encode()), *headers],
    }

    async def send(message):
        if message["type"] == "http.response.start":
            answer.update(status=message["status"], headers=message["headers"])
        else:
            answer["body"] = message["body"]

    asyncio.run(app(scope, receive, send))
    return answer
