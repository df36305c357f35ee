"""httpapi.request_bodies: media types, JSON, limits, and what failures say."""

import gzip
import json

import pytest
from support.http_fakes import Api

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.httpapi import request_bodies
from sqlrs_engine.httpapi.request_bodies import MAX_DEPTH, parse

STATE = "ab" * 32
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def failure(response):
    assert response.status_code == 400
    body = response.json()
    assert body["code"] == "invalid_argument"
    assert "\n" not in str(body)
    return body["message"], body.get("details")


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({}, "give either state_id or from_name"),
        (
            {"state_id": STATE, "from_name": "demo"},
            "give either state_id or from_name",
        ),
        (
            {"state_id": STATE, "colour": "red"},
            "the body has an unknown field 'colour'; known fields:"
            " state_id, from_name, name, ttl, protected",
        ),
        ({"state_id": 7}, "'state_id' must be a string"),
        ({"state_id": STATE + "\n"}, "'state_id' must match ^[0-9a-f]{64}$"),
        ({"state_id": STATE, "protected": "yes"}, "'protected' must be true or false"),
        ([], "the body must be an object"),
    ],
)
def test_a_wrong_body_of_an_instance_is_explained_in_one_line(api, body, details):
    assert failure(api.post("/v1/instances", body)) == ("invalid request body", details)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"image_id": "postgres"}, "the body lacks 'prepare_kind'"),
        (
            {"prepare_kind": "mysql", "image_id": "x"},
            "'prepare_kind' must be one of psql, lb, chain",
        ),
        ({"prepare_kind": "psql", "image_id": ""}, "'image_id' must not be empty"),
        (
            {"prepare_kind": "psql", "image_id": "x", "psql_args": ["-c", 1]},
            "'psql_args[1]' must be a string",
        ),
    ],
)
def test_a_wrong_body_of_a_job_is_explained_in_one_line(api, body, details):
    assert failure(api.post("/v1/prepare-jobs", body))[1] == details


def test_the_explanation_of_a_long_field_name_is_short(api):
    manifest = {"files": {"x" * 100_000: "no digest"}}
    body = {"prepare_kind": "psql", "image_id": "x", "source_manifest": manifest}
    assert len(failure(api.post("/v1/prepare-jobs", body))[1]) < 200


def test_nulls_and_unknown_fields_of_a_job_are_accepted(api):
    body = {
        "prepare_kind": "psql",
        "image_id": "postgres:17",
        "psql_args": None,
        "work_dir": None,
        "stdin": None,
        "plan_only": None,
        "liquibase_env": None,
        "source_manifest": {"version": 1, "entries": [{"path": "a.sql"}]},
        "from_the_future": [1, 2],
    }
    assert api.post("/v1/prepare-jobs", body).status_code == 201


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b'{"a": NaN}',
        b"\xff\xfe",
        b'{"prepare_kind": "\xff"}',
        b'"\\ud800"',
        b"[" * 100_000,
        b'{"prepare_kind":"psql","image_id":"a\\u0000b"}',
        b'{"prepare_kind":"psql","image_id":"x","y":' + b"[" * 65 + b"]" * 65 + b"}",
        b"{} {}",
    ],
)
def test_invalid_json_is_refused(api, content):
    failure(api.post("/v1/prepare-jobs", content=content, headers=JSON))


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_missing_body_is_refused(api, headers):
    message, _ = failure(api.post("/v1/prepare-jobs", headers=headers))
    assert message == "a JSON request body is required: send an object"


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json; charset=latin-1",
        "application/json; charset=nonsense",
        "nonsense",
    ],
)
def test_a_body_of_another_media_type_is_refused(api, media_type):
    response = api.post("/v1/prepare-jobs", content=b"{}", headers={"Content-Type": media_type})
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_a_body_of_json_in_utf_8_is_accepted_in_any_spelling(api, media_type):
    content = json.dumps({"prepare_kind": "psql", "image_id": "é"}, ensure_ascii=False).encode()
    response = api.post("/v1/prepare-jobs", content=content, headers={"Content-Type": media_type})
    assert response.status_code == 201


def test_a_body_without_a_media_type_is_read_as_json(api):
    content = b'{"prepare_kind": "psql", "image_id": "postgres"}'
    assert api.post("/v1/prepare-jobs", content=content).status_code == 201


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("br", 415), ("identity", 201)])
def test_a_compressed_body_is_refused(api, coding, status):
    content = b'{"prepare_kind": "psql", "image_id": "postgres"}'
    content = gzip.compress(content) if coding == "gzip" else content
    response = api.post("/v1/prepare-jobs", content=content, headers={"Content-Encoding": coding})
    assert response.status_code == status


def test_a_large_body_is_checked_like_a_small_one(api):
    body = {"prepare_kind": "psql", "image_id": "x", "psql_args": ["-c"] * 100_000 + [None]}
    assert failure(api.post("/v1/prepare-jobs", body))[1] == "'psql_args[100000]' must be a string"


def test_an_escaped_backslash_before_u0000_is_no_nul_character():
    assert parse(b'"\\\\u0000"') == "\\u0000"


def test_json_may_be_as_deep_as_the_limit():
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_many_shallow_objects_are_not_deep_json():
    assert len(parse(b"[" + b"{}," * 1000 + b"{}]")) == 1001


def test_json_is_limited_in_its_values_but_not_in_the_length_of_texts(monkeypatch):
    monkeypatch.setattr(request_bodies, "MAX_VALUES", 10)
    assert parse(b'{"stdin": "' + b"[{,}]" * 100 + b'"}') == {"stdin": "[{,}]" * 100}
    assert parse(rb'["\\", "\",[,[,[,[,[,[,"]') == ["\\", '",[,[,[,[,[,[,']
    for content in (
        b"[" + b"[]," * 9 + b"[]]",
        b"[" + b"{}," * 9 + b"{}]",
        b"[" + b"0," * 9 + b"0,1]",
    ):
        with pytest.raises(InvalidArgument, match="too many values"):
            parse(content)
    names = b",".join(b'"%d": "[,[,"' % number for number in range(10))
    assert len(parse(b"{" + names + b"}")) == 10


def test_texts_that_do_not_end_are_refused_quickly(monkeypatch):
    monkeypatch.setattr(request_bodies, "MAX_VALUES", 10)
    for content in (b"," * 11 + b'"\\' * 1_000_000, b"," * 11 + b'""' * 1_000_000):
        with pytest.raises(InvalidArgument):
            parse(content)
