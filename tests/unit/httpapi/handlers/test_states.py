"""httpapi.handlers.states: list, filter and delete states."""

import pytest
from support.http_fakes import Api


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def test_states_are_listed_and_filtered(api):
    state = api.instance()["state_id"]
    entry = api.get(f"/v1/states/{state}").json()
    assert entry["refcount"] == 1
    assert "parent_state_id" not in entry
    assert api.get("/v1/states").json() == [entry]
    assert api.get("/v1/states?kind=psql").json() == [entry]
    assert api.get("/v1/states?kind=lb").json() == []
    assert api.get(f"/v1/states?id_prefix={state[:8].upper()}").json() == [entry]


def test_deleting_a_state_that_has_an_instance(api):
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
