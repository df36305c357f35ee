"""httpapi: paths, methods, tokens and media types."""

import errno

import pytest
from support.http_fakes import IDENT, TOKEN, Api, services

from sqlrs_engine import auth


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def code(response):
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()["code"]


def test_health_says_what_is_wrong(tmp_path):
    warning = services(tmp_path, warnings=lambda: ["disk_full"])
    full = Api(tmp_path, services=warning).get("/v1/health", token=None).json()
    assert (full["ok"], full["warnings"]) == (True, ["disk_full"])
    assert (
        "warnings"
        not in Api(tmp_path, services=services(tmp_path)).get("/v1/health", token=None).json()
    )


def test_a_full_disk_is_no_bug(api, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(api.services.registry, "name", full)
    assert code(api.get("/v1/names/dev")) == (507, "cache_full_unreclaimable")


def test_health_proves_that_the_engine_has_the_token(api):
    challenge = "0123456789abcdef" * 4
    response = api.get("/v1/health", token=None, params={"challenge": challenge})
    assert response.json()["proof"] == auth.proof(TOKEN, challenge)
    assert "proof" not in api.get("/v1/health", token=None).json()


@pytest.mark.parametrize("challenge", ["0" * 31, "0" * 129, "X" * 64, "0" * 63 + "\n"])
def test_a_challenge_is_hexadecimal_and_bounded(api, challenge):
    response = api.get("/v1/health", token=None, params={"challenge": challenge})
    assert response.status_code == 400


def test_health_needs_no_token(api):
    response = api.get("/v1/health", token=None)
    assert response.status_code == 200
    body = response.json()
    assert body == {"ok": True, "version": "test", "instanceId": IDENT, "pid": body["pid"]}


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN.upper()])
def test_everything_else_does(api, token):
    response = api.get("/v1/names", token=token)
    assert code(response) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_token_in_the_query_is_no_token(api):
    response = api.get(f"/v1/names?token={TOKEN}&access_token={TOKEN}", token=None)
    assert response.status_code == 401


def test_the_token_is_asked_for_before_the_method(api):
    assert code(api("DELETE", "/v1/names", token=None)) == (401, "unauthorized")
    assert code(api("DELETE", "/v1/names")) == (405, "method_not_allowed")


def test_a_body_is_not_read_without_the_token(api):
    response = api.post("/v1/prepare-jobs", token=None, content=b"not json")
    assert response.status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v2/names",
        "/v1/names/",
        "/v1/names//",
        "//v1/names",
        "/v1/health/",
        "/v1/users",
    ],
)
def test_an_unknown_path_is_not_found_with_or_without_token(api, path):
    assert code(api.get(path)) == (404, "not_found")
    assert code(api.get(path, token=None)) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/health", "GET, HEAD"),
        ("PATCH", "/v1/names/demo", "DELETE, GET, HEAD, PUT"),
        ("PUT", "/v1/instances", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/config", "DELETE, GET, HEAD, PATCH"),
        ("HEAD", "/v1/runs", "POST"),
        ("TRACE", "/v1/states", "GET, HEAD"),
    ],
)
def test_a_wrong_method_says_which_are_right(api, method, path, allow):
    response = api(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow


def test_an_encoded_slash_stays_within_its_segment(api):
    response = api.get("/v1/names/a%2Fb")
    assert response.status_code == 404
    assert response.json()["message"] == "name not found"


@pytest.mark.parametrize("path", ["/v1/names", "/v1/health", "/v1/prepare-jobs"])
def test_head_is_get_without_a_body(api, path):
    head, get = api("HEAD", path), api.get(path)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers == get.headers


def test_lists_are_json_unless_ndjson_is_asked_for(api):
    for _ in range(2):
        api.prepare("-c", "select 1")
    plain = api.get("/v1/instances")
    assert plain.headers["content-type"] == "application/json"
    lines = api.get("/v1/instances", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert len(plain.json()) == lines.text.count("\n") == 2


@pytest.mark.parametrize("path", ["names", "instances", "states", "prepare-jobs", "tasks"])
def test_an_empty_list_is_a_list(api, path):
    assert api.get(f"/v1/{path}").content == b"[]\n"
    lines = api.get(f"/v1/{path}", headers={"Accept": "application/x-ndjson"})
    assert lines.content == b""


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("application/*;q=0.5", "application/json"),
        ("text/html, application/json", "application/json"),
        ("application/json, application/x-ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*", "application/json"),
        ("", "application/json"),
    ],
)
def test_accept_chooses(api, accept, expected):
    response = api.get("/v1/names", headers={"Accept": accept})
    assert response.headers["content-type"] == expected


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1", "*/*;q=0"])
def test_what_cannot_be_produced_is_refused_before_anything_is_done(api, accept):
    body = {"prepare_kind": "psql", "image_id": "postgres"}
    response = api.post("/v1/prepare-jobs", body, headers={"Accept": accept})
    assert code(response) == (406, "not_acceptable")
    assert api.get("/v1/prepare-jobs").json() == []


def test_a_service_that_breaks_is_an_internal_error_without_its_words(api, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(api.services.registry, "name", broken)
    response = api.get("/v1/names/demo")
    assert code(response) == (500, "internal_error")
    assert "secret" not in response.text
    assert "the secret reason" in caplog.text


def test_two_applications_do_not_share_anything(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = Api(tmp_path / "a"), Api(tmp_path / "b")
    first.prepare("-c", "select 1")
    assert len(first.get("/v1/instances").json()) == 1
    assert second.get("/v1/instances").json() == []


@pytest.mark.parametrize("path", ["/v1/users/me", "/v1/users/by-identity", "/v1/organizations"])
def test_what_only_a_shared_service_has_is_said_to_be_of_one(api, path):
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json()["message"] == "a local engine has no users or organizations"
