"""The warm pool of an engine as its users meet it."""

import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg
import pytest
from support.fix_engine import EngineFactory, EngineProcess
from support.waiting import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

STEP = ("-c", "create table t as select 1 as n")


def standbys(engine: EngineProcess) -> int:
    """Return how many the engine says it has."""
    found = re.search(r"^sqlrs_pool_standbys (\S+)$", engine.call("GET", "/metrics").text, re.M)
    assert found is not None
    return int(float(found[1]))


def await_standby(engine: EngineProcess) -> None:
    eventually(lambda: standbys(engine) > 0, "a standby")


def select(dsn: str, sql: str = "select n from t") -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


def instances(engine: EngineProcess) -> set[str]:
    """Return the ids the engine lists."""
    return {each["instance_id"] for each in engine.call("GET", "/v1/instances").json()}


def servers(engine: EngineProcess) -> set[str]:
    """Return the ids whose data directory a process works in."""
    root = engine.store / "instances"
    found = set()
    for process in psutil.process_iter():
        try:
            place = Path(process.cwd())
        except (psutil.Error, OSError):
            continue
        if place.is_relative_to(root):
            found.add(place.relative_to(root).parts[0])
    return found


def containers(engine: EngineProcess) -> set[str]:
    return {path.name for path in (engine.store / "instances").iterdir()}


def test_the_second_prepare_gets_a_standby(engine: EngineProcess) -> None:
    first = engine.prepare(*STEP)
    await_standby(engine)
    assert instances(engine) == {first["instance_id"]}
    [standby] = containers(engine) - instances(engine)
    second = engine.prepare(*STEP)
    assert second["instance_id"] == standby
    assert (select(first["dsn"]), select(second["dsn"])) == (1, 1)
    shown = engine.call("GET", f"/v1/instances/{standby}").json()
    assert shown["dsn"] == second["dsn"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_end_of_the_engine_leaves_standbys(
    engine: EngineProcess, number: signal.Signals
) -> None:
    kept = engine.prepare(*STEP)
    await_standby(engine)
    engine.stop(number)
    assert (servers(engine) == {kept["instance_id"]}) is (number == signal.SIGTERM)
    recoveries = engine.log.count("recovered")
    engine.start()
    eventually(lambda: engine.log.count("recovered") > recoveries, "the end of the recovery")
    eventually(lambda: servers(engine) == {kept["instance_id"]}, "no server but the instance's")
    assert containers(engine) == instances(engine) == {kept["instance_id"]}
    assert select(kept["dsn"]) == 1


def test_a_state_goes_with_its_standbys(engine: EngineProcess) -> None:
    made = engine.prepare(*STEP)
    await_standby(engine)
    assert engine.call("DELETE", f"/v1/instances/{made['instance_id']}").status_code == 200
    answer = engine.call("DELETE", f"/v1/states/{made['state_id']}")
    assert (answer.status_code, answer.json()["outcome"]) == (200, "deleted")
    assert standbys(engine) == 0
    assert (servers(engine), containers(engine)) == (set(), set())


def test_an_idle_engine_ends_with_its_standbys(engine_factory: EngineFactory) -> None:
    engine = engine_factory("--idle-timeout", "3s", seeded=False).start()
    kept = engine.prepare(*STEP)
    assert engine.process.wait(60) == 0
    assert servers(engine) == {kept["instance_id"]}


def test_the_warm_pool_can_be_switched_off(engine: EngineProcess) -> None:
    engine.prepare(*STEP)
    await_standby(engine)
    change = {"path": "pool.enabled", "value": False}
    assert engine.call("PATCH", "/v1/config", json=change).status_code == 200
    eventually(lambda: standbys(engine) == 0, "no standbys")
    again = engine.prepare(*STEP)
    assert select(again["dsn"]) == 1
    assert servers(engine) == instances(engine)


def test_a_burst(engine: EngineProcess) -> None:
    """Each request gets an instance of its own; nothing is left of any."""
    state_id = engine.prepare(*STEP)["state_id"]
    with engine.client(timeout=120) as client, ThreadPoolExecutor(20) as clients:

        def checkout(_: int) -> str:
            answer = client.post("/v1/instances", json={"state_id": state_id})
            assert answer.status_code == 201, answer.text
            assert select(answer.json()["dsn"]) == 1
            instance_id: str = answer.json()["instance_id"]
            return instance_id

        made = list(clients.map(checkout, range(20)))
        assert len(set(made)) == 20
        assert instances(engine) > set(made)
        codes = clients.map(lambda each: client.delete(f"/v1/instances/{each}"), instances(engine))
        assert {answer.status_code for answer in codes} == {200}
    assert instances(engine) == set()
    engine.stop()
    assert (servers(engine), containers(engine)) == (set(), set())
