"""httpapi.errors: one envelope for all failures."""

import errno

import pytest
from support.http_fakes import TOKEN, Api

UNKNOWN = "00" * 16
UNKNOWN_STATE = "00" * 32


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def code(response):
    assert response.headers["content-type"] == "application/json"
    return response.status_code, response.json()["code"]


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
def test_an_unknown_resource_is_not_found(api, method, path):
    response = api(method, f"/v1/{path}")
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


def test_an_error_does_not_repeat_a_token_in_the_body(api):
    response = api.post("/v1/prepare-jobs", {"image_id": TOKEN})
    assert TOKEN not in response.text


def test_a_full_disk_is_no_internal_error(api, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(api.services.registry, "name", full)
    assert code(api.get("/v1/names/dev")) == (507, "cache_full_unreclaimable")


def test_an_unexpected_exception_is_logged_and_not_shown(api, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(api.services.registry, "name", broken)
    response = api.get("/v1/names/demo")
    assert code(response) == (500, "internal_error")
    assert "secret" not in response.text
    assert "the secret reason" in caplog.text
