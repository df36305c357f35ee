"""The end of an engine while a command runs: the program ends too, and runs again."""

import signal
from pathlib import Path

import psutil
import psycopg
import pytest
from support import base_states
from support.fix_engine import EngineProcess
from support.waiting import eventually

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MIGRATE = """#!/bin/sh
echo $$ >> pids
setsid sleep 1000 & echo $! >> pids
while [ ! -e go ]; do sleep 0.05; done
psql -c 'CREATE TABLE t AS SELECT 1 AS n'
"""


def pids(app: Path) -> list[int]:
    file = app / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_runs_again_at_the_next_start(
    engine: EngineProcess, tmp_path: Path, number: signal.Signals
) -> None:
    base_states.seed(engine.store)
    program = tmp_path / "migrate"
    program.write_text(MIGRATE)
    program.chmod(0o755)
    stage = {
        "kind": "command",
        "argv": ["./migrate"],
        "inputs": [],
        "work_dir": str(tmp_path),
    }
    body = {"prepare_kind": "chain", "image_id": "postgres:18", "stages": [stage]}
    answer = engine.call("POST", "/v1/prepare-jobs", json=body)
    assert answer.status_code == 201, answer.text
    eventually(lambda: len(pids(tmp_path)) == 2, "the run")

    engine.stop(number)
    engine.start()
    # The job may resume before what is left of the first run has ended.
    eventually(lambda: len(pids(tmp_path)) == 4, "the second run")
    eventually(lambda: not any(map(lives, pids(tmp_path)[:2])), "the end of the first run")
    (tmp_path / "go").touch()

    job_id = answer.json()["job_id"]
    events = engine.events(job_id)
    assert events[-1]["type"] == "result", events
    result = engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()["result"]
    with psycopg.connect(result["dsn"]) as connection:
        assert connection.execute("SELECT n FROM t").fetchone() == (1,)
    assert not any(map(lives, pids(tmp_path)))
