"""From SQL to a database that answers, over HTTP, as the sqlrs client asks."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from support.fix_engine import EngineFactory, EngineProcess
from support.shell import python_of

pytestmark = pytest.mark.postgres

CHINOOK_COUNTS = {
    "artist": 275,
    "album": 347,
    "track": 3503,
    "customer": 59,
    "invoice": 412,
    "invoice_line": 2240,
    "playlist_track": 8715,
}


def query(dsn: str, sql: str) -> object:
    """Return the one value of a query."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "one.sql").write_text("create table t (id int primary key);\n")
    (tmp_path / "two.sql").write_text("insert into t select generate_series(1, 10);\n")
    return tmp_path


def test_two_steps_then_the_same_from_the_cache(
    shared_engine: EngineProcess, scripts: Path
) -> None:
    args = ("-f", str(scripts / "one.sql"), "-f", str(scripts / "two.sql"))
    first = shared_engine.prepare(*args)
    second = shared_engine.prepare(*args)
    assert first["state_id"] == second["state_id"]
    assert first["instance_id"] != second["instance_id"]
    assert first["dsn"] != second["dsn"]
    for result in (first, second):
        assert query(result["dsn"], "select count(*) from t") == 10
    assert query(first["dsn"], "with d as (delete from t returning 1) select count(*) from d") == 10
    assert query(second["dsn"], "select count(*) from t") == 10


def test_the_answers_have_the_shapes_clients_read(
    shared_engine: EngineProcess, scripts: Path
) -> None:
    body = {
        "prepare_kind": "psql",
        "image_id": "postgres:18",
        "psql_args": ["-f", str(scripts / "one.sql")],
        "liquibase_args": None,
        "source_manifest": None,
        "unknown": {"fields": "pass"},
    }
    answer = shared_engine.call("POST", "/v1/prepare-jobs", json=body)
    accepted = answer.json()
    job_id = accepted["job_id"]
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/prepare-jobs/{job_id}"
    assert accepted == {
        "job_id": job_id,
        "status_url": f"/v1/prepare-jobs/{job_id}",
        "events_url": f"/v1/prepare-jobs/{job_id}/events",
        "status": "queued",
    }
    events = shared_engine.events(job_id)
    assert [event["status"] for event in events if event["type"] == "status"] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert events[-1]["type"] == "result"
    job = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
    assert job["result"] == events[-1]["result"]
    assert set(job["result"]) == {
        "dsn",
        "instance_id",
        "state_id",
        "image_id",
        "prepare_kind",
        "prepare_args_normalized",
    }
    assert [task["type"] for task in job["tasks"]] == [
        "plan",
        "resolve_image",
        "state_execute",
        "prepare_instance",
    ]


def test_a_plan_runs_nothing(shared_engine: EngineProcess) -> None:
    job_id = shared_engine.submit("-c", "select 'planned only'", plan_only=True)
    shared_engine.events(job_id)
    job = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
    assert (job["status"], job["plan_only"], "result" in job) == ("succeeded", True, False)
    assert [t["cached"] for t in job["tasks"] if t["type"] == "state_execute"] == [False]


def test_failing_sql_fails_the_job_each_time(shared_engine: EngineProcess) -> None:
    for _ in range(2):
        job_id = shared_engine.submit("-c", "select 1; select nonsense; select 2")
        events = shared_engine.events(job_id)
        assert events[-1]["type"] == "error"
        job = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
        assert job["status"] == "failed"
        assert "nonsense" in job["error"]["details"]


def test_standard_input_is_a_script(shared_engine: EngineProcess) -> None:
    result = shared_engine.prepare("-f", "-", stdin="create table s as select 7 as n;\n")
    assert query(result["dsn"], "select n from s") == 7


def test_the_dsn_needs_its_password(shared_engine: EngineProcess) -> None:
    dsn = shared_engine.prepare("-c", "select 1")["dsn"]
    wrong = psycopg.conninfo.make_conninfo(dsn, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(wrong)
    password = psycopg.conninfo.conninfo_to_dict(dsn)["password"]
    assert isinstance(password, str)
    assert password not in shared_engine.log


def test_an_unknown_major_says_what_is_available(shared_engine: EngineProcess) -> None:
    job_id = shared_engine.submit("-c", "select 1", image="postgres:9")
    shared_engine.events(job_id)
    error = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()["error"]
    assert error["code"] == "image_unavailable"
    assert "postgres install" in f"{error['message']} {error['details']}"


def test_connection_flags_are_refused_at_once(shared_engine: EngineProcess) -> None:
    body = {"prepare_kind": "psql", "image_id": "postgres:18", "psql_args": ["-h", "x"]}
    answer = shared_engine.call("POST", "/v1/prepare-jobs", json=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "code": "invalid_argument",
        "message": "connection flags are not allowed",
        "details": "-h",
    }


def test_removing_an_instance_ends_its_server(shared_engine: EngineProcess) -> None:
    result = shared_engine.prepare("-c", "select 'to be removed'")
    path = f"/v1/instances/{result['instance_id']}"
    answer = shared_engine.call("DELETE", path)
    assert (answer.status_code, answer.json()["outcome"]) == (200, "deleted")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(result["dsn"])
    assert shared_engine.call("GET", path).status_code == 404


def test_an_instance_in_use_is_not_removed(shared_engine: EngineProcess) -> None:
    result = shared_engine.prepare("-c", "select 'in use'")
    path = f"/v1/instances/{result['instance_id']}"
    with psycopg.connect(result["dsn"]):
        answer = shared_engine.call("DELETE", path)
        assert answer.status_code == 409
        assert answer.json()["root"]["blocked"] == "active_connections"
        assert shared_engine.call("DELETE", path, params={"force": "true"}).status_code == 200


def test_a_state_with_an_instance_needs_recurse(shared_engine: EngineProcess) -> None:
    result = shared_engine.prepare("-c", "select 'a state to be removed'")
    path = f"/v1/states/{result['state_id']}"
    assert shared_engine.call("DELETE", path).status_code == 409
    answer = shared_engine.call("DELETE", path, params={"recurse": "true"})
    assert (answer.status_code, answer.json()["outcome"]) == (200, "deleted")
    ids = [row["instance_id"] for row in shared_engine.call("GET", "/v1/instances").json()]
    assert result["instance_id"] not in ids


def test_many_clients_at_once_build_a_state_once(shared_engine: EngineProcess) -> None:
    jobs = [shared_engine.submit("-c", "create table once as select 1 as n") for _ in range(4)]
    results = []
    for job_id in jobs:
        shared_engine.events(job_id)
        job = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}")
        # Identical jobs beyond the configured number are retired, their instances stay.
        if job.status_code == 200:
            results.append(job.json()["result"])
    assert results
    for result in results:
        assert query(result["dsn"], "select n from once") == 1


@pytest.mark.slow
def test_chinook(shared_engine: EngineProcess, chinook: Path) -> None:
    result = shared_engine.prepare("-f", str(chinook))
    dsn = psycopg.conninfo.make_conninfo(result["dsn"], dbname="chinook")
    counts = {table: query(dsn, f"select count(*) from {table}") for table in CHINOOK_COUNTS}
    assert counts == CHINOOK_COUNTS


@pytest.fixture
def chinook() -> Path:
    root = Path(__file__).resolve().parent.parent.parent
    beside = root.parent / "shared" / "data" / "chinook" / "Chinook_PostgreSql.sql"
    path = Path(os.environ.get("SQLRS_CHINOOK") or beside)
    if not path.exists():
        pytest.skip("no Chinook script: set SQLRS_CHINOOK")
    return path


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_can_prepare(engine_factory: EngineFactory) -> None:
    nobody = 65534
    python = python_of(nobody)
    if python is None:
        pytest.skip("no interpreter that another user can start")
    engine = engine_factory("--idle-timeout", "0", python=python, user=nobody).start()
    result = engine.prepare("-c", "create table t as select 5 as n")
    assert query(result["dsn"], "select n from t") == 5
    assert (engine.store / "instances").stat().st_uid == nobody


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_name_can_prepare_or_is_told_what_to_do(
    engine_factory: EngineFactory,
) -> None:
    nameless = 61183
    python = python_of(nameless)
    if python is None:
        pytest.skip("no interpreter that another user can start")
    engine = engine_factory("--idle-timeout", "0", python=python, user=nameless).start()
    job_id = engine.submit("-c", "create table t as select 5 as n")
    engine.events(job_id)
    job = engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
    if job["status"] == "succeeded":  # by nss_wrapper or a user namespace
        assert query(job["result"]["dsn"], "select n from t") == 5
    else:
        assert job["error"]["code"] == "os_user_unknown"
        assert "/etc/passwd" in job["error"]["message"]


def test_a_web_page_is_turned_away(shared_engine: EngineProcess) -> None:
    for headers, status in (
        ({"Origin": "https://example.com"}, 403),
        ({"Host": "example.com"}, 421),
    ):
        answer = httpx.get(
            f"{shared_engine.base_url}/v1/names", headers={**shared_engine.headers, **headers}
        )
        assert answer.status_code == status


def resident_mib(engine: EngineProcess) -> float:
    """Return the engine's resident memory."""
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


@pytest.mark.slow
def test_a_hundred_thousand_lines_stream_and_are_kept_in_flat_memory(engine: EngineProcess) -> None:
    engine.prepare("-c", "select 1")
    before = resident_mib(engine)
    most = before
    job_id = engine.submit("-Atc", "select g || repeat('x', 100) from generate_series(1, 100000) g")
    path = f"/v1/prepare-jobs/{job_id}/events"
    rest, numbers = b"", []
    with engine.client(timeout=120) as client, client.stream("GET", path) as response:
        for chunk in response.iter_raw():
            *lines, rest = (rest + chunk).split(b"\n")
            messages = [json.loads(line).get("message", "") for line in lines]
            numbers += [int(m[6:].rstrip("x")) for m in messages if m.endswith("xxx")]
            if len(numbers) % 10 == 0:
                most = max(most, resident_mib(engine))
    assert numbers == list(range(1, 100_001))
    assert max(most, resident_mib(engine)) - before < 64
    # They are the same when read again, from the store and from the middle.
    start = 100_000
    kept = engine.call("GET", path, headers={"Range": f"events={start}-"}).text.splitlines()
    assert json.loads(kept[-1])["type"] == "result"
    assert 1 < len(kept) < 100


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"argv": ["no-such-tool"]}, 409, "program_unavailable", "no-such-tool"),
        ({"argv": ["./missing"]}, 409, "program_unavailable", "./missing"),
        ({"argv": []}, 400, "invalid_argument", "stages[0]"),
        ({"inputs": None}, 400, "invalid_argument", "migrations/**"),
        ({"inputs": ["../up"]}, 400, "invalid_argument", "../up"),
        ({"inputs": ["/etc/passwd"]}, 400, "invalid_argument", "/etc/passwd"),
        ({"inputs": ["no/*.sql"]}, 400, "invalid_argument", "no/*.sql"),
        ({"env": {"PGPORT": "5432"}}, 400, "invalid_argument", "PGPORT"),
        ({"base_env": {"LANG": "C"}}, 400, "invalid_argument", "LANG"),
        ({"work_dir": "app"}, 400, "invalid_argument", "app"),
        ({"work_dir": None}, 400, "invalid_argument", "work_dir"),
        ({"input": ["a"]}, 400, "invalid_argument", "did you mean inputs?"),
        ({"env": {"A": 1}}, 400, "invalid_argument", "env"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_without_a_job(
    shared_engine: EngineProcess,
    tmp_path: Path,
    fields: dict[str, Any],
    status: int,
    code: str,
    named: str,
) -> None:
    stage = {"kind": "command", "argv": ["true"], "inputs": [], "work_dir": str(tmp_path), **fields}
    body = {"prepare_kind": "chain", "image_id": "postgres:18", "stages": [stage]}
    answer = shared_engine.call("POST", "/v1/prepare-jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert named in answer.text
