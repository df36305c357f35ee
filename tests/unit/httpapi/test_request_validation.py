"""httpapi.request_validation: what a handler gets, and the media type of its answer."""

import pytest
from support.http_fakes import Api


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def code(response):
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()["code"]


def test_an_operation_without_a_body_ignores_one(api):
    response = api("GET", "/v1/names", content=b"whatever")
    assert response.status_code == 200


def test_a_list_is_json_unless_accept_names_ndjson(api):
    for _ in range(2):
        api.prepare("-c", "select 1")
    plain = api.get("/v1/instances")
    assert plain.headers["content-type"] == "application/json"
    lines = api.get("/v1/instances", headers={"Accept": "application/x-ndjson"})
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert len(plain.json()) == lines.text.count("\n") == 2


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
def test_the_accept_header_chooses_the_media_type(api, accept, expected):
    response = api.get("/v1/names", headers={"Accept": accept})
    assert response.headers["content-type"] == expected


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=1", "*/*;q=0"])
def test_an_unacceptable_request_has_no_effect(api, accept):
    body = {"prepare_kind": "psql", "image_id": "postgres"}
    response = api.post("/v1/prepare-jobs", body, headers={"Accept": accept})
    assert code(response) == (406, "not_acceptable")
    assert api.get("/v1/prepare-jobs").json() == []
