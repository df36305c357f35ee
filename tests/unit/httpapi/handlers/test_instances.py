"""httpapi.handlers.instances: create, read, change, reset and delete instances."""

import pytest
from support.http_fakes import IMAGE, Api

UNKNOWN_STATE = "00" * 32


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def test_an_instance_shows_its_dsn_and_lists_do_not(api):
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


def test_instances_are_filtered_by_state_image_and_id_prefix(api):
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


def test_a_name_redirects_to_its_instance_by_a_relative_location(api):
    instance = api.instance()["instance_id"]
    api("PUT", "/v1/names/demo", json={"instance_id": instance})
    response = api.get("/v1/instances/demo", headers={"Host": "localhost:1"})
    assert response.status_code == 307
    assert response.headers["location"] == f"/v1/instances/{instance}"
    assert response.content == b""


def test_an_instance_is_created_from_a_state(api):
    state = api.instance()["state_id"]
    response = api.post("/v1/instances", {"state_id": state, "ttl": "90s", "protected": True})
    assert response.status_code == 201
    entry = response.json()
    assert response.headers["location"] == f"/v1/instances/{entry['instance_id']}"
    assert (entry["state_id"], entry["ttl"], entry["protected"]) == (state, "1m30s", True)
    assert "expires_at" in entry


def test_an_instance_is_created_from_the_state_of_a_name(api):
    entry = api.instance()
    api("PUT", "/v1/names/demo", json={"instance_id": entry["instance_id"]})
    made = api.post("/v1/instances", {"from_name": "demo", "name": "copy"}).json()
    assert made["state_id"] == entry["state_id"]
    assert made["instance_id"] != entry["instance_id"]
    assert made["name"] == "copy"
    assert made["status"] == "active"


@pytest.mark.parametrize("body", [{"state_id": UNKNOWN_STATE}, {"from_name": "nobody"}])
def test_an_instance_of_an_unknown_state_or_name_is_not_found(api, body):
    assert api.post("/v1/instances", body).status_code == 404


@pytest.mark.parametrize(("ttl", "shown"), [("24h", "24h0m0s"), ("0", "0s"), ("1.5s", "1.5s")])
def test_the_time_to_live_is_changed_and_reset(api, ttl, shown):
    path = f"/v1/instances/{api.instance()['instance_id']}"
    assert api("PATCH", path, json={"ttl": ttl}).json()["ttl"] == shown
    assert api("PATCH", path, json={"protected": True}).json()["ttl"] == shown
    assert "ttl" not in api("PATCH", path, json={"ttl": None}).json()
    assert api.get(path).json()["protected"] is True


@pytest.mark.parametrize("body", [{}, {"ttl": "-1s"}, {"ttl": "soon"}, {"ttl": 60}, {"port": 1}])
def test_an_invalid_change_of_an_instance_is_refused(api, body):
    path = f"/v1/instances/{api.instance()['instance_id']}"
    assert api("PATCH", path, json=body).status_code == 400


def test_a_reset_is_refused_while_clients_are_connected(api):
    instance = api.instance()["instance_id"]
    path = f"/v1/instances/{instance}/reset"
    assert api.post(path).status_code == 200
    api.services.instances.connected[instance] = 2
    response = api.post(path)
    assert response.status_code == 409
    assert response.json()["code"] == "conflict"
    assert api.post(f"{path}?force=true").json()["instance_id"] == instance


def test_a_snapshot_of_an_instance_is_a_state(api):
    entry = api.instance()
    response = api.post(f"/v1/instances/{entry['instance_id']}/snapshot")
    assert response.status_code == 201
    state = response.json()
    assert response.headers["location"] == f"/v1/states/{state['state_id']}"
    assert state["parent_state_id"] == entry["state_id"]
    assert api.get(response.headers["location"]).json() == state


def test_deleting_an_instance_with_and_without_connections(api):
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


def test_a_repeated_request_returns_what_the_first_created(api):
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
