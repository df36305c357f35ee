"""httpapi.routing: paths and methods."""

import pytest
from support.http_fakes import Api


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def code(response):
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()["code"]


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
def test_a_wrong_method_is_answered_with_the_allowed_ones(api, method, path, allow):
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


@pytest.mark.parametrize("path", ["/v1/users/me", "/v1/users/by-identity", "/v1/organizations"])
def test_a_path_of_a_shared_service_says_that_the_engine_is_local(api, path):
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json()["message"] == "a local engine has no users or organizations"
