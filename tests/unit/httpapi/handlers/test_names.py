"""httpapi.handlers.names: bind, read and delete names."""

import pytest
from support.http_fakes import Api

UNKNOWN = "00" * 16


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


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


def test_a_name_cannot_be_bound_to_an_unknown_instance(api):
    response = api("PUT", "/v1/names/demo", json={"instance_id": UNKNOWN})
    assert response.status_code == 404
