"""httpapi: parameters and bodies against the document, and what failures say."""

import contextlib
import gzip
import json

import pytest
from support.http_fakes import TOKEN, Api

from sqlrs_engine.errors import InvalidArgument, NotFound
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


@pytest.mark.parametrize("value", ["1", "t", "T", "TRUE", "true", "True"])
def test_flags_are_true_in_every_form_go_knows(api, value):
    instance = api.instance()["instance_id"]
    response = api("DELETE", f"/v1/instances/{instance}?dry_run={value}")
    assert response.json()["outcome"] == "would_delete"


@pytest.mark.parametrize("value", ["0", "f", "F", "FALSE", "false", "False"])
def test_and_false(api, value):
    instance = api.instance()["instance_id"]
    response = api("DELETE", f"/v1/instances/{instance}?dry_run={value}")
    assert response.json()["outcome"] == "deleted"


@pytest.mark.parametrize("name", ["force", "dry_run", "recurse"])
@pytest.mark.parametrize("value", ["yes", "2", "tRUE", "true\n"])
def test_other_flags_are_invalid(api, name, value):
    response = api("DELETE", f"/v1/states/{STATE}", params={name: value})
    assert failure(response)[0] == f"invalid {name}"


@pytest.mark.parametrize(
    ("prefix", "details"),
    [
        ("abc", "id_prefix must be at least 8 hex characters"),
        ("zzzzzzzzz", "id_prefix must be hex"),
        ("abcdefg1", "id_prefix must be hex"),
    ],
)
@pytest.mark.parametrize("path", ["instances", "states"])
def test_id_prefixes_are_hexadecimal_and_long_enough(api, path, prefix, details):
    response = api.get(f"/v1/{path}", params={"id_prefix": prefix})
    assert failure(response) == ("invalid id_prefix", details)


def test_id_prefixes_are_matched_in_either_case(api):
    entry = api.instance()
    prefix = entry["instance_id"][:12].upper()
    assert len(api.get(f"/v1/instances?id_prefix={prefix}").json()) == 1


def test_a_parameter_given_twice_is_ambiguous(api):
    assert failure(api.get("/v1/names?state=a&state=b"))[0] == "invalid state"


def test_unknown_parameters_are_ignored(api):
    assert api.get("/v1/names?colour=red").status_code == 200


@pytest.mark.parametrize("empty", ["", "%20", "+"])
def test_an_empty_parameter_is_as_good_as_none(api, empty):
    instance = api.instance()
    query = f"state={empty}&image={empty}&id_prefix={empty}"
    assert len(api.get(f"/v1/instances?{query}").json()) == 1
    assert len(api.get(f"/v1/names?instance={empty}").json()) == 0
    assert len(api.get(f"/v1/prepare-jobs?job={empty}").json()) == 1
    assert api.get(f"/v1/config?path={empty}&effective={empty}").json() == {}
    path = f"/v1/instances/{instance['instance_id']}?dry_run=true&force={empty}"
    assert api("DELETE", path).json()["outcome"] == "would_delete"
    assert failure(api("DELETE", f"/v1/config?path={empty}"))[0] == "path is required"


def test_spaces_around_an_id_are_not_part_of_it(api):
    instance = api.instance()
    ident, state = instance["instance_id"], instance["state_id"]
    assert api.get(f"/v1/instances/%20{ident}%20").json() == instance
    assert api.get(f"/v1/states/{state}%20").status_code == 200
    rows = api.get("/v1/instances", params={"state": f" {state} ", "id_prefix": f" {ident[:9]}"})
    assert [row["instance_id"] for row in rows.json()] == [ident]
    assert api("DELETE", f"/v1/instances/{ident}%20").json()["outcome"] == "deleted"


def test_a_required_parameter_is_required(api):
    assert failure(api("DELETE", "/v1/config"))[0] == "path is required"


@pytest.mark.parametrize(
    "path",
    ["prepare-jobs/abc", "states/abc", "instances/%20", f"states/{STATE}%0A", "names/-x"],
)
def test_what_cannot_be_an_id_is_not_found(api, path):
    assert api.get(f"/v1/{path}").status_code == 404


@pytest.mark.parametrize("name", ["-x", "a b", "x" * 64, "ab" * 16, "a%0A"])
def test_what_cannot_be_a_name_cannot_be_bound(api, name):
    instance = api.instance()["instance_id"]
    failure(api("PUT", f"/v1/names/{name}", json={"instance_id": instance}))


@pytest.mark.parametrize(
    "path",
    ["log.level", "mine[0].c", 'postgres.settings["pg_stat_statements.track"]', '["a.b"][2]["c"]'],
)
def test_every_form_of_a_setting_path_is_accepted(api, path):
    assert api("PATCH", "/v1/config", json={"path": "mine", "value": [{"c": 1}]}).is_success
    assert api.get("/v1/config", params={"path": path}).status_code in (200, 404)
    with contextlib.suppress(NotFound):
        api.services.config.get(path)


@pytest.mark.parametrize("path", ["a..b", ".a", "a.", "[0]", "a b", 'a["b', 'a["b"]c', "a[x]"])
def test_a_malformed_setting_path_is_explained(api, path):
    message, details = failure(api.get("/v1/config", params={"path": path}))
    assert message == "invalid path"
    assert "Keys separated by dots" in details
    with pytest.raises(InvalidArgument):
        api.services.config.get(path)


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
def test_bodies_are_explained_in_one_line(api, body, details):
    assert failure(api.post("/v1/instances", body)) == ("invalid request body", details)


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ({"image_id": "postgres"}, "the body lacks 'prepare_kind'"),
        ({"prepare_kind": "mysql", "image_id": "x"}, "'prepare_kind' must be one of psql, lb"),
        ({"prepare_kind": "psql", "image_id": ""}, "'image_id' must not be empty"),
        (
            {"prepare_kind": "psql", "image_id": "x", "psql_args": ["-c", 1]},
            "'psql_args[1]' must be a string",
        ),
    ],
)
def test_those_of_jobs_too(api, body, details):
    assert failure(api.post("/v1/prepare-jobs", body))[1] == details


def test_the_explanation_of_a_large_body_is_short(api):
    manifest = {"files": {"x" * 100_000: "no digest"}}
    body = {"prepare_kind": "psql", "image_id": "x", "source_manifest": manifest}
    assert len(failure(api.post("/v1/prepare-jobs", body))[1]) < 200


def test_nulls_and_unknown_fields_pass_where_upstream_lets_them(api):
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
def test_what_is_not_decent_json_is_refused(api, content):
    failure(api.post("/v1/prepare-jobs", content=content, headers=JSON))


@pytest.mark.parametrize("headers", [{}, JSON])
def test_a_missing_body_is_asked_for(api, headers):
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
def test_a_body_that_says_it_is_something_else_is_not_read_as_json(api, media_type):
    response = api.post("/v1/prepare-jobs", content=b"{}", headers={"Content-Type": media_type})
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'],
)
def test_json_in_utf_8_by_any_spelling_is(api, media_type):
    content = json.dumps({"prepare_kind": "psql", "image_id": "é"}, ensure_ascii=False).encode()
    response = api.post("/v1/prepare-jobs", content=content, headers={"Content-Type": media_type})
    assert response.status_code == 201


def test_a_body_that_does_not_say_what_it_is_is_read_as_json(api):
    content = b'{"prepare_kind": "psql", "image_id": "postgres"}'
    assert api.post("/v1/prepare-jobs", content=content).status_code == 201


@pytest.mark.parametrize(("coding", "status"), [("gzip", 415), ("br", 415), ("identity", 201)])
def test_a_compressed_body_is_named_as_such(api, coding, status):
    content = b'{"prepare_kind": "psql", "image_id": "postgres"}'
    content = gzip.compress(content) if coding == "gzip" else content
    response = api.post("/v1/prepare-jobs", content=content, headers={"Content-Encoding": coding})
    assert response.status_code == status


def test_operations_without_a_body_ignore_one(api):
    response = api("GET", "/v1/names", content=b"whatever")
    assert response.status_code == 200


def test_a_large_body_is_checked_like_a_small_one(api):
    body = {"prepare_kind": "psql", "image_id": "x", "psql_args": ["-c"] * 100_000 + [None]}
    assert failure(api.post("/v1/prepare-jobs", body))[1] == "'psql_args[100000]' must be a string"


def test_an_escaped_backslash_before_u0000_is_no_nul():
    assert parse(b'"\\\\u0000"') == "\\u0000"


def test_depth_is_allowed_up_to_the_limit():
    parse(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        parse(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))


def test_many_shallow_objects_are_not_deep():
    assert len(parse(b"[" + b"{}," * 1000 + b"{}]")) == 1001


def test_the_number_of_values_is_bounded_but_not_the_length_of_texts(monkeypatch):
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


def test_texts_that_do_not_end_take_no_time(monkeypatch):
    monkeypatch.setattr(request_bodies, "MAX_VALUES", 10)
    for content in (b"," * 11 + b'"\\' * 1_000_000, b"," * 11 + b'""' * 1_000_000):
        with pytest.raises(InvalidArgument):
            parse(content)


def test_the_token_of_tests_is_never_in_an_answer(api):
    response = api.post("/v1/prepare-jobs", {"image_id": TOKEN})
    assert TOKEN not in response.text
