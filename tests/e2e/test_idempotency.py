"""Requests repeated with their ``Idempotency-Key``, at once and after a kill of the engine."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.fix_engine import EngineProcess

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


def post(engine: EngineProcess, path: str, body: dict, key: str) -> tuple[int, dict]:
    answer = engine.call("POST", path, json=body, headers={"Idempotency-Key": key})
    return answer.status_code, answer.json()


def test_a_repeated_request_makes_no_second_one(engine: EngineProcess) -> None:
    body = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": ["-c", "select 1"]}
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            answer["job_id"]
            for status, answer in pool.map(
                lambda _: post(engine, "/v1/prepare-jobs", body, "one"), range(4)
            )
            if status == 201
        ]
    assert len(jobs) == 4
    assert len(set(jobs)) == 1
    engine.events(jobs[0])
    result = engine.call("GET", f"/v1/prepare-jobs/{jobs[0]}").json()["result"]

    wanted = {"state_id": result["state_id"], "name": "mine"}
    with ThreadPoolExecutor(4) as pool:
        made = [
            answer["instance_id"]
            for status, answer in pool.map(
                lambda _: post(engine, "/v1/instances", wanted, "one"), range(4)
            )
            if status == 201
        ]
    assert len(made) == 4
    assert len(set(made)) == 1

    engine.stop(signal.SIGKILL)
    engine.start()
    assert post(engine, "/v1/prepare-jobs", body, "one")[1]["job_id"] == jobs[0]
    assert post(engine, "/v1/instances", wanted, "one")[1]["instance_id"] == made[0]
    status, error = post(engine, "/v1/instances", {"state_id": result["state_id"]}, "one")
    assert (status, error["code"]) == (422, "idempotency_key_reused")
    status, error = post(engine, "/v1/prepare-jobs", {**body, "plan_only": True}, "one")
    assert (status, error["code"]) == (422, "idempotency_key_reused")
    everything = {row["instance_id"] for row in engine.call("GET", "/v1/instances").json()}
    assert everything == {result["instance_id"], made[0]}
