"""httpapi.handlers.health: the identity of the engine, its proof and its warnings."""

import pytest
from support.http_fakes import IDENT, TOKEN, Api, services

from sqlrs_engine import auth


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def test_health_shows_warnings(tmp_path):
    warning = services(tmp_path, warnings=lambda: ["disk_full"])
    full = Api(tmp_path, services=warning).get("/v1/health", token=None).json()
    assert (full["ok"], full["warnings"]) == (True, ["disk_full"])
    assert (
        "warnings"
        not in Api(tmp_path, services=services(tmp_path)).get("/v1/health", token=None).json()
    )


def test_health_proves_that_the_engine_has_the_token(api):
    challenge = "0123456789abcdef" * 4
    response = api.get("/v1/health", token=None, params={"challenge": challenge})
    assert response.json()["proof"] == auth.proof(TOKEN, challenge)
    assert "proof" not in api.get("/v1/health", token=None).json()


@pytest.mark.parametrize("challenge", ["0" * 31, "0" * 129, "X" * 64, "0" * 63 + "\n"])
def test_a_challenge_is_hexadecimal_and_bounded(api, challenge):
    response = api.get("/v1/health", token=None, params={"challenge": challenge})
    assert response.status_code == 400


def test_health_requires_no_token(api):
    response = api.get("/v1/health", token=None)
    assert response.status_code == 200
    body = response.json()
    assert body == {"ok": True, "version": "test", "instanceId": IDENT, "pid": body["pid"]}
