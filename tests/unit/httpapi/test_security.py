"""httpapi.security: the bearer token."""

import pytest
from support.http_fakes import TOKEN, Api


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def code(response):
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()["code"]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN.upper()])
def test_a_wrong_or_missing_token_is_unauthorized(api, token):
    response = api.get("/v1/names", token=token)
    assert code(response) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_token_in_the_query_is_ignored(api):
    response = api.get(f"/v1/names?token={TOKEN}&access_token={TOKEN}", token=None)
    assert response.status_code == 401


def test_the_token_is_checked_before_the_method(api):
    assert code(api("DELETE", "/v1/names", token=None)) == (401, "unauthorized")
    assert code(api("DELETE", "/v1/names")) == (405, "method_not_allowed")


def test_the_token_is_checked_before_the_body(api):
    response = api.post("/v1/prepare-jobs", token=None, content=b"not json")
    assert response.status_code == 401
