"""httpapi.handlers.config: read, set and remove settings."""

import pytest
from support.http_fakes import Api


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


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


def test_an_invalid_setting_is_refused(api):
    response = api("PATCH", "/v1/config", json={"path": "log.level", "value": "loud"})
    assert response.status_code == 400
    assert response.json()["message"] == "invalid config value"
    assert api.get("/v1/config?path=a..b").json()["message"] == "invalid path"


def test_the_schema_of_the_settings_is_a_json_schema(api):
    schema = api.get("/v1/config/schema").json()
    assert "$schema" in schema
    assert "log" in schema["properties"]


@pytest.mark.parametrize(("path", "value"), [("snapshot.backend", "copy"), ("log.level", "info")])
def test_a_change_that_needs_a_restart_says_so(api, path, value):
    waits = {"restart_required": True} if path == "snapshot.backend" else {}
    response = api("PATCH", "/v1/config", json={"path": path, "value": value})
    assert response.json() == {"path": path, "value": value, **waits}
    response = api("DELETE", f"/v1/config?path={path}")
    assert response.json().get("restart_required") == waits.get("restart_required")
