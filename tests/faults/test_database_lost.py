"""A database that is lost, or a part of it, costs no running server and no cached state."""

import signal
from pathlib import Path

import psycopg
import pytest
from support.fix_engine import EngineProcess
from support.waiting import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def all_of_it(store: Path) -> list[Path]:
    return list(store.glob("state.db*"))


def its_log_alone(store: Path) -> list[Path]:
    return list(store.glob("state.db-*"))


@pytest.mark.parametrize("what", [all_of_it, its_log_alone])
def test_servers_with_open_sessions_stay_up(engine: EngineProcess, what) -> None:
    eventually(lambda: engine.log.count("recovered") == 1, "the end of the recovery")
    prepared = engine.prepare("-c", "create table t as select 1 as n")
    named = engine.call(
        "POST", "/v1/instances", json={"state_id": prepared["state_id"], "name": "dev"}
    ).json()
    with psycopg.connect(named["dsn"], autocommit=True) as session:
        session.execute("insert into t values (2)")
        engine.stop(signal.SIGKILL)
        for path in what(engine.store):
            path.unlink()
        engine.start()
        eventually(lambda: engine.log.count("recovered") == 2, "the end of the recovery")
        session.execute("insert into t values (3)")
    shown = engine.call("GET", "/v1/instances/dev", follow_redirects=True).json()
    assert (shown["instance_id"], shown["dsn"]) == (named["instance_id"], named["dsn"])
    for dsn, rows in ((named["dsn"], 3), (prepared["dsn"], 1)):
        with psycopg.connect(dsn) as client:
            assert client.execute("select count(*) from t").fetchone() == (rows,)
    again = engine.submit("-c", "create table t as select 1 as n")
    assert engine.events(again)[-1]["type"] == "result"
    tasks = engine.call("GET", "/v1/tasks", params={"job": again}).json()
    assert [task["cached"] for task in tasks if task["type"] == "state_execute"] == [True]
    assert not (engine.store / "set-aside").exists()
