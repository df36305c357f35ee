"""What a crash, a stop or a reboot must not lose: jobs, states, instances, their ports."""

import contextlib
import random
import signal
import threading
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest
from support.fix_engine import EngineFactory, EngineProcess

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SLEEP = "select pg_sleep(2)"


def follow_until(engine: EngineProcess, job_id: str, text: str) -> None:
    """Read a job's events until one holds ``text``."""
    path = f"/v1/prepare-jobs/{job_id}/events"
    with engine.client() as client, client.stream("GET", path) as response:
        seen = ""
        for line in response.iter_lines():
            seen += line
            if text in line:
                return
    pytest.fail(f"no {text} in {seen}")


def running(engine: EngineProcess, job_id: str) -> None:
    """Wait until the SQL of a job is under way."""
    follow_until(engine, job_id, '"execute-0"')


def postmaster_pid(engine: EngineProcess, instance_id: str) -> int:
    runtime: str = engine.call("GET", f"/v1/instances/{instance_id}").json()["runtime_id"]
    return int(runtime.partition(".")[0])


def select(dsn: str, sql: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_resumes_at_the_next_start(engine: EngineProcess, number: signal.Signals) -> None:
    engine.prepare("-c", "select 1")  # the base state is there
    job_id = engine.submit("-c", f"create table t as select 1 as n; {SLEEP}")
    running(engine, job_id)
    code = engine.stop(number)
    assert code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
    engine.start()
    events = engine.events(job_id)
    assert events[-1]["type"] == "result", events
    result = engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()["result"]
    assert select(result["dsn"], "select count(*) from t") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_instances_outlive_the_engine(engine: EngineProcess, number: signal.Signals) -> None:
    result = engine.prepare("-c", "create table t as select 1 as n")
    with psycopg.connect(result["dsn"], autocommit=True) as connection:
        connection.execute("insert into t values (2)")
        engine.stop(number)
        # The connection from before the end still works, and so do new ones.
        connection.execute("insert into t values (3)")
    assert select(result["dsn"], "select sum(n) from t") == 6
    pid = int(
        next(iter((engine.store / "instances" / result["instance_id"] / "data").glob("*.pid")))
        .read_text()
        .split("\n")[0]
    )
    engine.start()
    assert postmaster_pid(engine, result["instance_id"]) == pid
    shown = engine.call("GET", f"/v1/instances/{result['instance_id']}").json()
    assert shown["dsn"] == result["dsn"]
    assert select(result["dsn"], "select sum(n) from t") == 6


def test_an_instance_that_died_is_restarted_on_its_port(engine: EngineProcess) -> None:
    result = engine.prepare("-c", "create table t as select 1 as n")
    pid = postmaster_pid(engine, result["instance_id"])
    engine.stop()
    postmaster = psutil.Process(pid)
    postmaster.send_signal(signal.SIGQUIT)
    psutil.wait_procs([postmaster], timeout=20)
    recoveries = engine.log.count("recovered")
    engine.start()
    follow_recovery(engine, recoveries + 1)
    assert select(result["dsn"], "select n from t") == 1


def pid_in(file: Path) -> str:
    """Return the first line of a server's pid file, nothing when there is none."""
    with contextlib.suppress(OSError):
        return file.read_text().partition("\n")[0]
    return ""


def reset_in_background(engine: EngineProcess, instance_id: str) -> threading.Thread:
    """Reset an instance; the engine may be killed meanwhile."""

    def reset() -> None:
        with contextlib.suppress(httpx.HTTPError):
            client.post(f"/v1/instances/{instance_id}/reset", params={"force": "true"})

    client = engine.client()
    thread = threading.Thread(target=lambda: (reset(), client.close()))
    thread.start()
    return thread


@pytest.mark.parametrize("moment", ["the new server appears", "a little later"])
def test_a_reset_cut_short_leaves_the_dsn_good(engine: EngineProcess, moment: str) -> None:
    result = engine.prepare("-c", "create table t as select 1 as n")
    instance_id = result["instance_id"]
    pid_file = engine.store / "instances" / instance_id / "data" / "postmaster.pid"
    before = pid_in(pid_file)
    resetting = reset_in_background(engine, instance_id)
    if moment == "a little later":
        threading.Event().wait(random.uniform(0, 0.3))
    while moment == "the new server appears" and resetting.is_alive():
        if pid_in(pid_file) not in ("", before):
            break
    engine.stop(signal.SIGKILL)
    resetting.join(60)
    recoveries = engine.log.count("recovered")
    engine.start()
    follow_recovery(engine, recoveries + 1)
    assert select(result["dsn"], "select n from t") == 1


def change_instances(client: httpx.Client, state_id: str) -> None:
    """Make, reset, promote and delete instances until the engine is gone."""
    while True:
        made = client.post("/v1/instances", json={"state_id": state_id}).json()
        path = f"/v1/instances/{made['instance_id']}"
        for call in (f"{path}/reset", f"{path}/snapshot"):
            client.post(call, params={"force": "true"})
        client.delete(path, params={"force": "true"})


def test_a_kill_at_any_moment_leaves_nothing_half_made(engine: EngineProcess) -> None:
    engine.call("PATCH", "/v1/config", json={"path": "pool.enabled", "value": False})
    result = engine.prepare("-c", "create table t as select 1 as n")

    def change(client: httpx.Client) -> None:
        with contextlib.suppress(httpx.HTTPError):
            change_instances(client, result["state_id"])

    for _ in range(2):
        with engine.client() as client:
            threads = [threading.Thread(target=change, args=(client,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            threading.Event().wait(random.uniform(0.2, 1.5))  # any moment will do
            engine.stop(signal.SIGKILL)
            for thread in threads:
                thread.join(60)
        recoveries = engine.log.count("recovered")
        engine.start()
        follow_recovery(engine, recoveries + 1)
        instances = engine.call("GET", "/v1/instances").json()
        for instance in instances:
            shown = engine.call("GET", f"/v1/instances/{instance['instance_id']}").json()
            assert select(shown["dsn"], "select n from t") == 1
        ids = {instance["instance_id"] for instance in instances}
        assert result["instance_id"] in ids
        assert {path.name for path in (engine.store / "instances").iterdir()} == ids
        assert not (engine.store / "set-aside").exists()


def follow_recovery(engine: EngineProcess, count: int) -> None:
    """Wait for the end of the so-many-th recovery, which the log tells."""
    done = threading.Event()
    for _ in range(600):
        if engine.log.count("recovered") >= count:
            return
        done.wait(0.05)
    pytest.fail(f"no end of the recovery: {engine.log}")


def test_an_idle_engine_waits_for_its_jobs(engine_factory: EngineFactory) -> None:
    # Long enough for a busy machine to ask twice within it, and shorter than the job.
    engine = engine_factory("--idle-timeout", "3s", seeded=False).start()
    job_id = engine.submit("-c", "select pg_sleep(4)")
    assert engine.process.wait(60) == 0
    engine.start()
    assert engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()["status"] == "succeeded"


def test_an_open_stream_does_not_hold_up_the_end(engine: EngineProcess) -> None:
    job_id = engine.submit("-c", "select pg_sleep(60)")
    running(engine, job_id)
    path = f"/v1/prepare-jobs/{job_id}/events"
    with engine.client() as client, client.stream("GET", path) as response:
        lines = response.iter_lines()
        next(lines)
        assert engine.stop(timeout=20) == 0
        with contextlib.suppress(httpx.HTTPError):
            for line in lines:
                assert '"type":"status"' not in line or '"succeeded"' not in line


def test_no_process_of_a_stopped_job_is_left(engine: EngineProcess) -> None:
    job_id = engine.submit("-c", "select pg_sleep(60)")
    running(engine, job_id)
    assert engine.stop() == 0
    assert [p for p in psutil.process_iter() if works_below(p, engine.store)] == []


def works_below(process: psutil.Process, directory: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(directory)
    except (psutil.Error, OSError):
        return False


def test_a_cancelled_job_is_over_after_a_restart(engine: EngineProcess) -> None:
    job_id = engine.submit("-c", "select pg_sleep(60)")
    running(engine, job_id)
    assert engine.call("POST", f"/v1/prepare-jobs/{job_id}/cancel").status_code == 202
    assert engine.events(job_id)[-1]["error"]["code"] == "cancelled"
    engine.stop()
    engine.start()
    job = engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
    assert (job["status"], job["error"]["code"]) == ("failed", "cancelled")
    tasks = engine.call("GET", "/v1/tasks", params={"job": job_id}).json()
    assert "running" not in {task["status"] for task in tasks}
