"""httpapi: names, instances, states, config."""

import json

import pytest
from support.http_fakes import IMAGE, Api

from sqlrs_engine.httpapi.serializers import DEEPEST
from sqlrs_engine.store.records import State
from sqlrs_engine.store.sqlite import hot_reads

UNKNOWN = "00" * 16
UNKNOWN_STATE = "00" * 32


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def test_one_instance_shows_its_dsn_and_lists_do_not(api):
    entry = api.instance()
    assert entry["dsn"].startswith("postgres://sqlrs:")
    assert entry["port"] == 20000
    assert entry["protected"] is False
    assert "ttl" not in entry
    listed = api.get("/v1/instances").json()[0]
    assert listed == {
        "instance_id": entry["instance_id"],
        "image_id": IMAGE,
        "state_id": entry["state_id"],
        "created_at": entry["created_at"],
        "status": "orphaned",
    }


def test_instances_are_filtered(api):
    entry = api.instance()
    for query, count in (
        (f"state={entry['state_id']}", 1),
        (f"state={UNKNOWN_STATE}", 0),
        (f"image={IMAGE}", 1),
        ("image=other", 0),
        (f"id_prefix={entry['instance_id'][:8]}", 1),
        ("id_prefix=00000000", 0),
    ):
        assert len(api.get(f"/v1/instances?{query}").json()) == count, query


def test_a_name_is_bound_moved_and_deleted(api):
    first, second = api.instance(), api.instance()
    response = api("PUT", "/v1/names/demo", json={"instance_id": first["instance_id"]})
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/names/demo"
    assert response.json()["status"] == "active"
    response = api("PUT", "/v1/names/demo", json={"instance_id": second["instance_id"]})
    assert response.status_code == 200
    assert api.get("/v1/names/demo").json()["instance_id"] == second["instance_id"]
    assert api.get("/v1/names").json() == [api.get("/v1/names/demo").json()]
    assert api.get(f"/v1/names?instance={first['instance_id']}").json() == []
    response = api("DELETE", "/v1/names/demo")
    assert response.status_code == 204
    assert response.content == b""
    assert "content-type" not in response.headers
    assert api("DELETE", "/v1/names/demo").status_code == 404
    assert api.get("/v1/names/demo").status_code == 404


def test_a_name_cannot_be_bound_to_nothing(api):
    response = api("PUT", "/v1/names/demo", json={"instance_id": UNKNOWN})
    assert response.status_code == 404


def test_an_instance_asked_for_by_name_is_a_relative_redirect(api):
    instance = api.instance()["instance_id"]
    api("PUT", "/v1/names/demo", json={"instance_id": instance})
    response = api.get("/v1/instances/demo", headers={"Host": "localhost:1"})
    assert response.status_code == 307
    assert response.headers["location"] == f"/v1/instances/{instance}"
    assert response.content == b""


def test_an_instance_of_a_state(api):
    state = api.instance()["state_id"]
    response = api.post("/v1/instances", {"state_id": state, "ttl": "90s", "protected": True})
    assert response.status_code == 201
    entry = response.json()
    assert response.headers["location"] == f"/v1/instances/{entry['instance_id']}"
    assert (entry["state_id"], entry["ttl"], entry["protected"]) == (state, "1m30s", True)
    assert "expires_at" in entry


def test_an_instance_of_a_names_state_with_a_name_of_its_own(api):
    entry = api.instance()
    api("PUT", "/v1/names/demo", json={"instance_id": entry["instance_id"]})
    made = api.post("/v1/instances", {"from_name": "demo", "name": "copy"}).json()
    assert made["state_id"] == entry["state_id"]
    assert made["instance_id"] != entry["instance_id"]
    assert made["name"] == "copy"
    assert made["status"] == "active"


@pytest.mark.parametrize("body", [{"state_id": UNKNOWN_STATE}, {"from_name": "nobody"}])
def test_an_instance_of_nothing(api, body):
    assert api.post("/v1/instances", body).status_code == 404


@pytest.mark.parametrize(("ttl", "shown"), [("24h", "24h0m0s"), ("0", "0s"), ("1.5s", "1.5s")])
def test_the_time_to_live_is_changed_and_put_back(api, ttl, shown):
    path = f"/v1/instances/{api.instance()['instance_id']}"
    assert api("PATCH", path, json={"ttl": ttl}).json()["ttl"] == shown
    assert api("PATCH", path, json={"protected": True}).json()["ttl"] == shown
    assert "ttl" not in api("PATCH", path, json={"ttl": None}).json()
    assert api.get(path).json()["protected"] is True


@pytest.mark.parametrize("body", [{}, {"ttl": "-1s"}, {"ttl": "soon"}, {"ttl": 60}, {"port": 1}])
def test_a_change_that_is_none_is_refused(api, body):
    path = f"/v1/instances/{api.instance()['instance_id']}"
    assert api("PATCH", path, json=body).status_code == 400


def test_reset_is_refused_while_there_are_connections(api):
    instance = api.instance()["instance_id"]
    path = f"/v1/instances/{instance}/reset"
    assert api.post(path).status_code == 200
    api.services.instances.connected[instance] = 2
    response = api.post(path)
    assert response.status_code == 409
    assert response.json()["code"] == "conflict"
    assert api.post(f"{path}?force=true").json()["instance_id"] == instance


def test_an_instance_becomes_a_state(api):
    entry = api.instance()
    response = api.post(f"/v1/instances/{entry['instance_id']}/snapshot")
    assert response.status_code == 201
    state = response.json()
    assert response.headers["location"] == f"/v1/states/{state['state_id']}"
    assert state["parent_state_id"] == entry["state_id"]
    assert api.get(response.headers["location"]).json() == state


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"instances/{UNKNOWN}"),
        ("DELETE", f"instances/{UNKNOWN}"),
        ("POST", f"instances/{UNKNOWN}/reset"),
        ("POST", f"instances/{UNKNOWN}/snapshot"),
        ("GET", f"states/{UNKNOWN_STATE}"),
        ("DELETE", f"states/{UNKNOWN_STATE}"),
        ("GET", f"prepare-jobs/{UNKNOWN}"),
        ("GET", f"prepare-jobs/{UNKNOWN}/events"),
        ("POST", f"prepare-jobs/{UNKNOWN}/cancel"),
        ("DELETE", f"prepare-jobs/{UNKNOWN}"),
        ("GET", "names/nobody"),
        ("DELETE", "instances/demo"),
    ],
)
def test_what_is_not_there_is_not_found(api, method, path):
    response = api(method, f"/v1/{path}")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_states_are_listed_and_filtered(api):
    state = api.instance()["state_id"]
    entry = api.get(f"/v1/states/{state}").json()
    assert entry["refcount"] == 1
    assert "parent_state_id" not in entry
    assert api.get("/v1/states").json() == [entry]
    assert api.get("/v1/states?kind=psql").json() == [entry]
    assert api.get("/v1/states?kind=lb").json() == []
    assert api.get(f"/v1/states?id_prefix={state[:8].upper()}").json() == [entry]


def test_deleting_an_instance(api):
    instance = api.instance()["instance_id"]
    path = f"/v1/instances/{instance}"
    root = {"kind": "instance", "id": instance, "connections": 0}
    assert api("DELETE", f"{path}?dry_run=true").json() == {
        "dry_run": True,
        "outcome": "would_delete",
        "root": root,
    }
    api.services.instances.connected[instance] = 1
    response = api("DELETE", path)
    assert response.status_code == 409
    assert response.json()["root"]["blocked"] == "active_connections"
    response = api("DELETE", f"{path}?dry_run=1")
    assert (response.status_code, response.json()["outcome"]) == (200, "blocked")
    response = api("DELETE", f"{path}?force=t")
    assert (response.status_code, response.json()["outcome"]) == (200, "deleted")
    assert api.get(path).status_code == 404


def test_deleting_a_state_with_what_depends_on_it(api):
    entry = api.instance()
    path = f"/v1/states/{entry['state_id']}"
    response = api("DELETE", path)
    assert response.status_code == 409
    assert response.json()["root"] == {
        "kind": "state",
        "id": entry["state_id"],
        "blocked": "has_descendants",
    }
    response = api("DELETE", f"{path}?recurse=true")
    assert response.status_code == 200
    assert response.json()["root"]["children"][0]["id"] == entry["instance_id"]
    assert api.get("/v1/states").json() == []


def test_settings_are_read_set_and_removed(api):
    path = "orchestrator.jobs.maxIdentical"
    assert api.get("/v1/config").json() == {}
    assert api.get(f"/v1/config?path={path}").status_code == 404
    effective = api.get(f"/v1/config?path={path}&effective=true").json()
    assert effective == {"path": path, "value": 2}
    response = api("PATCH", "/v1/config", json={"path": path, "value": 5})
    assert response.json() == {"path": path, "value": 5}
    assert api.get(f"/v1/config?path={path}").json()["value"] == 5
    assert api.get("/v1/config?effective=1").json()["orchestrator"]["jobs"]["maxIdentical"] == 5
    response = api("DELETE", f"/v1/config?path={path}")
    assert response.json() == {"path": path, "value": 2}


def test_a_setting_that_is_wrong_is_refused(api):
    response = api("PATCH", "/v1/config", json={"path": "log.level", "value": "loud"})
    assert response.status_code == 400
    assert response.json()["message"] == "invalid config value"
    assert api.get("/v1/config?path=a..b").json()["message"] == "invalid path"


def test_the_schema_of_the_settings(api):
    schema = api.get("/v1/config/schema").json()
    assert "$schema" in schema
    assert "log" in schema["properties"]


@pytest.mark.parametrize(("path", "value"), [("snapshot.backend", "copy"), ("log.level", "info")])
def test_a_change_that_waits_for_a_restart_says_so(api, path, value):
    waits = {"restart_required": True} if path == "snapshot.backend" else {}
    response = api("PATCH", "/v1/config", json={"path": path, "value": value})
    assert response.json() == {"path": path, "value": value, **waits}
    response = api("DELETE", f"/v1/config?path={path}")
    assert response.json().get("restart_required") == waits.get("restart_required")


@pytest.mark.parametrize("page_rows", [1, 2, 3, 4])
def test_a_long_list_is_one_document_however_many_pages_it_takes(api, monkeypatch, page_rows):
    monkeypatch.setattr(hot_reads, "PAGE_ROWS", page_rows)
    ident = api.instance()["instance_id"]
    for number in (1, 2, 3):
        api("PUT", f"/v1/names/n{number}", json={"instance_id": ident})
    names = ["n1", "n2", "n3"]
    array = api.get("/v1/names")
    assert [each["name"] for each in array.json()] == names
    assert array.headers["content-type"] == "application/json"
    lines = api.get("/v1/names", headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line)["name"] for line in lines.text.splitlines()] == names
    assert lines.text.endswith("}\n")
    assert lines.headers["content-type"].startswith("application/x-ndjson")


def test_an_empty_list_is_an_array(api):
    assert api.get("/v1/names").text == "[]\n"
    assert api.get("/v1/names", headers={"Accept": "application/x-ndjson"}).text == ""


def test_long_chains_of_states_are_answered_and_deleted(api):
    """JSON encoders and readers have limits of nesting; chains of states have none."""
    length = 400
    ids = [f"{number:064x}" for number in range(length)]
    for parent, state_id in zip([None, *ids], ids, strict=False):
        api.store.states.add(
            State(
                state_id=state_id,
                parent_state_id=parent,
                image_id=IMAGE,
                prepare_kind="psql",
                prepare_args_normalized="",
                created_at="2026-01-01T00:00:00.000000Z",
            )
        )
    path = f"/v1/states/{ids[0]}?recurse=true"
    planned = api("DELETE", f"{path}&dry_run=true")
    assert planned.status_code == 200
    done = api("DELETE", path)
    assert (done.status_code, done.json()["outcome"]) == (200, "deleted")
    assert api.store.states.totals().count == 0
    root = done.json()["root"]
    assert planned.json()["root"] == root
    levels, nodes = 0, [root]
    found = []
    while nodes:
        levels += 1
        found += [node["id"] for node in nodes]
        nodes = [child for node in nodes for child in node.get("children", [])]
    assert levels == DEEPEST
    assert found == ids  # the parents first, each once


def test_a_request_says_what_it_is_repeated_with(api):
    body = {"prepare_kind": "psql", "image_id": "postgres"}
    keyed = {"Idempotency-Key": "8e03978e"}
    first = api.post("/v1/prepare-jobs", body, headers=keyed)
    again = api.post("/v1/prepare-jobs", body, headers=keyed)
    assert (again.status_code, again.json()["job_id"]) == (201, first.json()["job_id"])
    state = api.instance()["state_id"]
    for fields in ({"ttl": "1h"}, {"ttl": "2h"}, {"ttl": "1h"}):
        api.post("/v1/instances", {"state_id": state, **fields}, headers=keyed)
    api.post("/v1/instances", {"state_id": state})
    (purpose, digest), other, same = api.services.instances.asked
    assert same == (purpose, digest)
    assert other[0] == purpose
    assert other[1] != digest


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\u00e9"])
def test_what_is_no_key_is_refused(api, key):
    headers = {"Idempotency-Key": key.encode("latin-1")}
    for path, body in (
        ("/v1/prepare-jobs", {"prepare_kind": "psql", "image_id": "postgres"}),
        ("/v1/instances", {"state_id": "ab" * 32}),
    ):
        response = api.post(path, body, headers=headers)
        assert (response.status_code, response.json()["code"]) == (400, "invalid_argument")
