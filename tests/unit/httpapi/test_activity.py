"""httpapi.activity: open requests, idle time, and the access log."""

import asyncio
import logging

import pytest
from support.http_fakes import TOKEN, Api

from sqlrs_engine.httpapi.activity import Activity, ActivityMiddleware
from sqlrs_engine.metrics import Metrics

ACCESS = "sqlrs_engine.access"


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_idle_time_counts_from_the_end_of_the_last_request():
    clock = Clock()
    activity = Activity(clock)
    clock.now += 5
    assert activity.idle_seconds() == 5
    activity.begin()
    activity.begin()
    clock.now += 60
    activity.end()
    assert activity.idle_seconds() == 0
    assert activity.open_requests == 1
    activity.end()
    clock.now += 3
    assert activity.idle_seconds() == 3
    activity.touch()
    assert activity.idle_seconds() == 0


def test_a_request_that_fails_is_no_longer_open():
    async def broken(_scope, _receive, _send):
        raise RuntimeError

    activity = Activity()
    scope = {"method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError):
        asyncio.run(ActivityMiddleware(broken, activity, Metrics())(scope, None, None))
    assert activity.open_requests == 0


def test_the_application_counts_open_requests(api, monkeypatch):
    counts = []
    get = api.store.states.get

    def counting(state_id):
        counts.append(api.app.activity.open_requests)
        return get(state_id)

    monkeypatch.setattr(api.store.states, "get", counting)
    api.get(f"/v1/states/{'0' * 64}")
    assert counts == [1]
    assert api.app.activity.open_requests == 0


def test_each_request_is_one_line_of_the_access_log(api, caplog):
    caplog.set_level(logging.INFO, ACCESS)
    api.get("/v1/names/caf%C3%A9%0Ax?secret=1")
    (record,) = [r for r in caplog.records if r.name == ACCESS]
    line = record.getMessage()
    assert line.startswith("method=GET path=/v1/names/caf%C3%A9%0Ax status=404 bytes=")
    assert " ms=" in line
    assert line.endswith("remote=127.0.0.1")
    assert "\n" not in line
    assert "secret" not in line


def test_a_long_path_is_cut_in_the_access_log(api, caplog):
    caplog.set_level(logging.INFO, ACCESS)
    api.get("/v1/" + "x" * 50_000, token=None)
    (line,) = [r.getMessage() for r in caplog.records if r.name == ACCESS]
    assert "x… status=404 " in line
    assert len(line) < 2000


def test_no_log_line_contains_a_token_or_a_password(api, caplog):
    caplog.set_level(logging.DEBUG)
    entry = api.instance()
    api.get(f"/v1/names?token={TOKEN}")
    api.get("/v1/names", token="wrong" + TOKEN)
    password = entry["dsn"].split(":")[2].split("@")[0]
    logged = [r.getMessage() for r in caplog.records if r.name.startswith("sqlrs_engine")]
    assert logged
    assert not [line for line in logged if TOKEN in line or f":{password}@" in line]


def test_the_access_log_respects_its_level(api, caplog):
    caplog.set_level(logging.WARNING, ACCESS)
    api.get("/v1/health")
    assert not [r for r in caplog.records if r.name == ACCESS]
