"""httpapi.parameters: path, query and header parameters, by the document."""

import contextlib

import pytest
from support.http_fakes import Api

from sqlrs_engine.errors import InvalidArgument, NotFound

STATE = "ab" * 32


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def failure(response):
    assert response.status_code == 400
    body = response.json()
    assert body["code"] == "invalid_argument"
    assert "\n" not in str(body)
    return body["message"], body.get("details")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9"])
def test_an_invalid_idempotency_key_is_refused(api, key):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    for path, body in (
        ("/v1/prepare-jobs", {"prepare_kind": "psql", "image_id": "postgres"}),
        ("/v1/instances", {"state_id": "ab" * 32}),
    ):
        response = api.post(path, body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize("value", ["1", "t", "T", "TRUE", "true", "True"])
def test_a_flag_is_true_in_every_form_that_go_parses(api, value):
    instance = api.instance()["instance_id"]
    response = api("DELETE", f"/v1/instances/{instance}?dry_run={value}")
    assert response.json()["outcome"] == "would_delete"


@pytest.mark.parametrize("value", ["0", "f", "F", "FALSE", "false", "False"])
def test_a_flag_is_false_in_every_form_that_go_parses(api, value):
    instance = api.instance()["instance_id"]
    response = api("DELETE", f"/v1/instances/{instance}?dry_run={value}")
    assert response.json()["outcome"] == "deleted"


@pytest.mark.parametrize("name", ["force", "dry_run", "recurse"])
@pytest.mark.parametrize("value", ["yes", "2", "tRUE", "true\n"])
def test_any_other_text_is_no_flag(api, name, value):
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
def test_an_id_prefix_is_hexadecimal_and_long_enough(api, path, prefix, details):
    response = api.get(f"/v1/{path}", params={"id_prefix": prefix})
    assert failure(response) == ("invalid id_prefix", details)


def test_an_id_prefix_is_matched_in_upper_and_lower_case(api):
    entry = api.instance()
    prefix = entry["instance_id"][:12].upper()
    assert len(api.get(f"/v1/instances?id_prefix={prefix}").json()) == 1


def test_a_parameter_given_twice_is_refused(api):
    assert failure(api.get("/v1/names?state=a&state=b"))[0] == "invalid state"


def test_unknown_parameters_are_ignored(api):
    assert api.get("/v1/names?colour=red").status_code == 200


@pytest.mark.parametrize("empty", ["", "%20", "+"])
def test_an_empty_parameter_is_ignored(api, empty):
    instance = api.instance()
    query = f"state={empty}&image={empty}&id_prefix={empty}"
    assert len(api.get(f"/v1/instances?{query}").json()) == 1
    assert len(api.get(f"/v1/names?instance={empty}").json()) == 0
    assert len(api.get(f"/v1/prepare-jobs?job={empty}").json()) == 1
    assert api.get(f"/v1/config?path={empty}&effective={empty}").json() == {}
    path = f"/v1/instances/{instance['instance_id']}?dry_run=true&force={empty}"
    assert api("DELETE", path).json()["outcome"] == "would_delete"
    assert failure(api("DELETE", f"/v1/config?path={empty}"))[0] == "path is required"


def test_spaces_around_an_id_are_ignored(api):
    instance = api.instance()
    ident, state = instance["instance_id"], instance["state_id"]
    assert api.get(f"/v1/instances/%20{ident}%20").json() == instance
    assert api.get(f"/v1/states/{state}%20").status_code == 200
    rows = api.get("/v1/instances", params={"state": f" {state} ", "id_prefix": f" {ident[:9]}"})
    assert [row["instance_id"] for row in rows.json()] == [ident]
    assert api("DELETE", f"/v1/instances/{ident}%20").json()["outcome"] == "deleted"


def test_a_missing_required_parameter_is_named(api):
    assert failure(api("DELETE", "/v1/config"))[0] == "path is required"


@pytest.mark.parametrize(
    "path",
    ["prepare-jobs/abc", "states/abc", "instances/%20", f"states/{STATE}%0A", "names/-x"],
)
def test_a_malformed_id_in_a_path_is_not_found(api, path):
    assert api.get(f"/v1/{path}").status_code == 404


@pytest.mark.parametrize("name", ["-x", "a b", "x" * 64, "ab" * 16, "a%0A"])
def test_a_malformed_name_cannot_be_bound(api, name):
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
