"""Each command of the unmodified sqlrs CLI, replayed request by request.

The sequences and bodies are those recorded between the CLI and its own engine; what is
asserted is what the CLI relies on. ``cli_replay`` checks all answers' forms on the way.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from support import fix_liquibase
from support.cli_replay import (
    ACCEPTED,
    CACHE,
    DECISION,
    DELETED,
    ERROR,
    EVENT,
    INSTANCE,
    JOB,
    NAME,
    RESULT,
    STATE,
    TASK,
    Answer,
    Cli,
    check,
    go_json,
    nodes,
    request_bytes,
    skip_unwired,
)
from support.fix_engine import EngineFactory, EngineProcess, engines
from support.store_samples import job as stored_job
from support.waiting import eventually

from sqlrs_engine.store.sqlite import SqliteStore

pytestmark = [pytest.mark.postgres]

IMAGE = "postgres:18"
TERMINAL = ("succeeded", "failed")
SELECT_BY_FILE = {"args": ["-f", "-"], "stdin": "select 1;\n"}
TICKS = """
do $$ begin
  for i in 1..12 loop raise notice 'tick %', i; perform pg_sleep(0.1); end loop;
end $$;
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the CLI is called, and thus the engine's own."""
    directory = tmp_path_factory.mktemp("ws")
    scripts = {
        "one.sql": "create table a (id int);\ninsert into a values (1), (2), (3);\n",
        "two.sql": "create table b as select id * 2 as id from a;\n",
        "bad.sql": "select 1;\nselect nope;\n",
        "changes.sql": "--liquibase formatted sql\n--changeset a:one\ncreate table c (id int);\n",
    }
    for name, text in scripts.items():
        (directory / name).write_text(text)
    return directory


@pytest.fixture(scope="module")
def daemon(workspace: Path) -> Iterator[EngineProcess]:
    """The engine, started as the CLI starts it."""
    with engines() as make:
        yield make("--idle-timeout", "2m0s", cwd=workspace).start()


@pytest.fixture
def cli(daemon: EngineProcess) -> Iterator[Cli]:
    """One command on its way: the engine is found, the token is good."""
    with Cli(daemon) as cli:
        cli.connect()
        yield cli


@pytest.fixture(scope="module")
def instance(daemon: EngineProcess, workspace: Path) -> str:
    """An instance with a table ``a`` of three rows; its id."""
    with Cli(daemon) as cli:
        instance_id: str = cli.prepare(psql("-f", str(workspace / "one.sql")))["instance_id"]
        return instance_id


def psql(*args: str, **fields: Any) -> dict[str, Any]:
    """The body of ``prepare:psql`` and ``plan:psql``."""
    return {"prepare_kind": "psql", "image_id": IMAGE, "psql_args": list(args), **fields}


def liquibase(workspace: Path, **fields: Any) -> dict[str, Any]:
    """The body of ``prepare:lb`` and ``plan:lb``: the other kind's arguments are null."""
    return {
        "prepare_kind": "lb",
        "image_id": IMAGE,
        "psql_args": None,
        "liquibase_args": ["update", "--changelog-file", "changes.sql"],
        "work_dir": str(workspace),
        **fields,
    }


def run(instance_id: str, *steps: dict[str, Any]) -> dict[str, Any]:
    """The body of ``run:psql``."""
    return {"instance_ref": instance_id, "kind": "psql", "args": [], "steps": list(steps)}


def output(events: list[dict[str, Any]], kind: str = "stdout") -> str:
    return "".join(event["data"] for event in events if event["type"] == kind)


def matches(cli: Cli, prefix: str) -> dict[str, list[dict[str, Any]]]:
    """What ``rm PREFIX`` asks for first; a short prefix can only be a job's."""
    found: dict[str, list[dict[str, Any]]] = {"instances": [], "states": []}
    if len(prefix) >= 8:
        found["instances"] = cli.get(f"/v1/instances?id_prefix={prefix}", [INSTANCE])
        found["states"] = cli.get(f"/v1/states?id_prefix={prefix}", [STATE])
    found["jobs"] = cli.get(f"/v1/prepare-jobs?job={prefix}", [JOB])
    return {kind: rows for kind, rows in found.items() if rows}


def remove(cli: Cli, path: str, status: int = 200) -> dict[str, Any]:
    """DELETE and return the tree that the CLI prints."""
    answers: list[Answer] = []

    def is_final() -> bool:
        answers.append(cli.call("DELETE", path))
        # A session that has just been closed counts until its server has ended.
        return answers[-1].status != 409 or status == 409

    eventually(is_final, f"DELETE {path}")
    answer = answers[-1]
    assert answer.status == status, answer.read()
    result: dict[str, Any] = check(DELETED, answer.json())
    list(nodes(result["root"]))
    return result


def replay(cli: Cli, job_id: str, start: int | None = None) -> list[dict[str, Any]]:
    """Read an event stream to its end."""
    range_ = None if start is None else f"events={start}-"
    stream = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events", range_=range_)
    assert stream.status == (200 if start is None else 206)
    if start is not None:
        assert stream.headers["content-range"].startswith(f"events {start}-")
    return [check(EVENT, json.loads(line)) for line in stream.lines()]


def query(dsn: str, sql: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


# What is sent


def test_requests_are_those_that_were_recorded() -> None:
    host, token = "127.0.0.1:7333", "0" * 64
    head = "Host: 127.0.0.1:7333\r\nUser-Agent: Go-http-client/1.1\r\n"
    assert request_bytes("GET", "/v1/health", host, token=None).decode() == (
        f"GET /v1/health HTTP/1.1\r\n{head}Accept-Encoding: gzip\r\n\r\n"
    )
    body = run("d4349babbb121597feca9555e08e67bc", {"args": ["-c", "select 1"]}, SELECT_BY_FILE)
    assert request_bytes("POST", "/v1/runs", host, token=token, body=go_json(body)).decode() == (
        f"POST /v1/runs HTTP/1.1\r\n{head}Content-Length: 154\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
        '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"psql","args":[],'
        '"steps":[{"args":["-c","select 1"]},{"args":["-f","-"],"stdin":"select 1;\\n"}]}'
    )
    resumed = request_bytes("GET", "/v1/x/events", host, token=token, range_="events=12-")
    assert resumed.decode() == (
        f"GET /v1/x/events HTTP/1.1\r\n{head}"
        f"Authorization: Bearer {token}\r\nRange: events=12-\r\n\r\n"
    )
    assert go_json({"stdin": "a<b && ü \u2028"}) == (
        b'{"stdin":"a\\u003cb \\u0026\\u0026 \xc3\xbc \\u2028"}'
    )


# Finding the engine


def test_any_command_starts_the_engine_within_its_five_seconds(
    engine_factory: EngineFactory, workspace: Path
) -> None:
    engine = engine_factory("--idle-timeout", "2m0s", cwd=workspace)
    engine.start()
    # On a machine of its own: what the engine waits for here is mostly the other tests.
    times = psutil.Process(engine.process.pid).cpu_times()
    assert times.user + times.system < 5
    with Cli(engine) as cli:
        cli.health()
    with Cli(engine) as cli:
        cli.connect()
    assert engine.stop() == 0
    assert engine.output() == "", "the CLI copies it to its user's terminal"


def test_any_command_uses_one_connection(cli: Cli) -> None:
    cli.get("/v1/names", [NAME])
    cli.get("/v1/instances", [INSTANCE])
    assert cli.connections == 1


def test_any_command_with_a_stale_token_is_told_401(daemon: EngineProcess) -> None:
    with Cli(daemon) as cli:
        cli.record = replace(cli.record, auth_token="0" * 64)
        cli.health()
        assert cli.call("GET", "/v1/prepare-jobs").status == 401
        assert cli.call("GET", "/v1/prepare-jobs", token=False).status == 401
        assert cli.connections == 1


# status, status --cache


def test_status(cli: Cli) -> None:
    cli.health()
    setting = cli.get("/v1/config?effective=true&path=container.runtime", {"path": str})
    assert (setting["path"], type(setting["value"])) == ("container.runtime", str)
    cli.get("/v1/cache/status", CACHE)


def test_status_cache_counts_the_states(cli: Cli, instance: str) -> None:
    cache = cli.get("/v1/cache/status", CACHE)
    states = cli.get("/v1/states", [STATE])
    assert cache["state_count"] == len(states) > 0
    assert 0 < cache["usage_bytes"] < cache["store_total_bytes"]
    assert 0 < cache["low_watermark"] < cache["high_watermark"] <= 1


# ls


def test_ls_all_of_an_empty_store(engine: EngineProcess) -> None:
    with Cli(engine) as cli:
        cli.connect()
        for path in ("names", "instances", "states", "prepare-jobs", "tasks"):
            assert cli.get(f"/v1/{path}", [dict]) == []


def test_ls_all(cli: Cli, instance: str) -> None:
    cli.get("/v1/names", [NAME])
    instances = cli.get("/v1/instances", [INSTANCE])
    states = cli.get("/v1/states", [STATE])
    jobs = cli.get("/v1/prepare-jobs", [JOB])
    tasks = cli.get("/v1/tasks", [TASK])
    (own,) = [row for row in instances if row["instance_id"] == instance]
    assert own["state_id"] in {row["state_id"] for row in states}
    assert sum(row["refcount"] for row in states) == len(instances)
    assert [row["created_at"] for row in jobs] == sorted(row["created_at"] for row in jobs)
    assert {row["job_id"] for row in tasks} <= {row["job_id"] for row in jobs}
    summaries = {row["args_summary"] for row in tasks if "args_summary" in row}
    assert any(summary.endswith("one.sql") for summary in summaries)


def test_ls_tasks_jobs_signature_of_one_job(cli: Cli) -> None:
    job_id = cli.submit(psql("-c", "select 'listed'"))["job_id"]
    cli.watch(job_id)
    (job,) = cli.get(f"/v1/prepare-jobs?job={job_id[:12]}", [JOB])
    assert (job["job_id"], job["status"]) == (job_id, "succeeded")
    assert job["signature"]
    assert job["resolved_image_id"].startswith("postgres@sha256:")
    tasks = cli.get(f"/v1/tasks?job={job_id}", [TASK])
    assert [task["task_id"] for task in tasks] == [
        "plan",
        "resolve-image",
        "execute-0",
        "prepare-instance",
    ]
    assert {task["status"] for task in tasks} == {"succeeded"}


def test_ls_instances_of_a_state_prefix(cli: Cli, instance: str) -> None:
    (own,) = cli.get(f"/v1/instances?id_prefix={instance[:8]}", [INSTANCE])
    (state,) = cli.get(f"/v1/states?id_prefix={own['state_id'][:8]}", [STATE])
    rows = cli.get(f"/v1/instances?state={state['state_id']}", [INSTANCE])
    assert own in rows
    rows = cli.get(f"/v1/instances?id_prefix={instance[:8]}&state={state['state_id']}", [INSTANCE])
    assert rows == [own]


def test_ls_filters_that_match_nothing(cli: Cli, instance: str) -> None:
    for path in (
        "states?id_prefix=d4349bab",
        "states?kind=nothing",
        "states?image=nothing%3A1",
        "instances?image=nothing%3A1",
        f"names?instance={instance}",
        "prepare-jobs?job=zz",
        f"tasks?job={'0' * 32}",
    ):
        assert cli.get(f"/v1/{path}", [dict]) == []


@pytest.mark.parametrize("name", ["no-such-name", "0" * 32, "a%20b", "%2Fetc%2Fpasswd", "n" * 300])
def test_ls_name_of_nothing(cli: Cli, name: str) -> None:
    assert cli.call("GET", f"/v1/names/{name}").status == 404
    assert cli.call("GET", f"/v1/instances/{name}").status == 404


def test_ls_name(cli: Cli, daemon: EngineProcess) -> None:
    instance_id = cli.prepare(psql("-c", "select 'named'"))["instance_id"]
    bound = daemon.call("PUT", "/v1/names/replayed", json={"instance_id": instance_id})
    assert bound.status_code == 201
    connections = cli.connections
    entry = cli.get("/v1/names/replayed", NAME)
    assert entry["instance_id"] == instance_id
    answer = cli.call("GET", "/v1/instances/replayed")
    assert (answer.status, answer.headers["location"]) == (307, f"/v1/instances/{instance_id}")
    followed = cli.get(answer.headers["location"], INSTANCE)
    assert (followed["name"], followed["status"]) == ("replayed", "active")
    assert cli.connections == connections, "the redirect's body was not read to its end"


def test_ls_states_cache_details(cli: Cli, workspace: Path) -> None:
    first = cli.prepare(psql("-c", "select 'details'"))
    again = cli.prepare(psql("-c", "select 'details'", "-f", str(workspace / "one.sql")))
    rows = {row["state_id"]: row for row in cli.get("/v1/states", [STATE])}
    parent, child = rows[first["state_id"]], rows[again["state_id"]]
    assert child["parent_state_id"] == parent["state_id"]
    assert parent["image_id"] == first["image_id"]
    assert parent["last_used_at"] >= parent["created_at"]
    assert (parent["refcount"], child["refcount"]) == (1, 1)
    assert parent["use_count"] >= 1
    assert parent["size_bytes"] > 0


# prepare


def test_prepare_psql_in_two_steps_then_cached(cli: Cli, workspace: Path) -> None:
    body = psql("-f", str(workspace / "one.sql"), "-f", str(workspace / "two.sql"))
    results = []
    for cached in (False, True):
        watched = cli.watch(cli.submit(body)["job_id"])
        job = watched.job
        assert job["status"] == "succeeded"
        assert watched.events[0]["status"] == "queued"
        steps = [task for task in job["tasks"] if task["type"] == "state_execute"]
        assert [step["task_id"] for step in steps] == ["execute-0", "execute-1"]
        assert [step["input"]["kind"] for step in steps] == ["image", "state"]
        assert steps[1]["input"]["id"] == steps[0]["output_state_id"]
        assert steps[1]["cached"] is cached
        assert job["result"]["state_id"] == steps[1]["output_state_id"]
        results.append(check(RESULT, job["result"]))
    first, second = results
    assert first["state_id"] == second["state_id"]
    assert first["instance_id"] != second["instance_id"]
    for result in results:
        assert query(result["dsn"], "select sum(id) from b") == 12


def test_prepare_psql_failing(cli: Cli, workspace: Path) -> None:
    body = psql("-v", "ON_ERROR_STOP=1", "-f", str(workspace / "bad.sql"))
    job = cli.watch(cli.submit(body)["job_id"]).job
    assert job["status"] == "failed"
    error = check(ERROR, job["error"])
    assert "nope" in f"{error['message']}: {error['details']}"
    assert "result" not in job


def test_prepare_psql_with_a_connection_flag(cli: Cli, workspace: Path) -> None:
    body = psql("-h", "localhost", "-f", str(workspace / "one.sql"))
    answer = cli.call("POST", "/v1/prepare-jobs", body)
    assert answer.status == 400
    assert answer.error() == {
        "code": "invalid_argument",
        "message": "connection flags are not allowed",
        "details": "-h",
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["postgres"], "positional database arguments are not allowed"),
        (["-f", "relative.sql"], "file path must be absolute"),
        (["-f", "/no/such/file.sql"], "cannot read file"),
        (["-f", "-"], "stdin is required when using -f -"),
        (["-v", "ON_ERROR_STOP=0", "-c", "select 1"], "ON_ERROR_STOP must be set to 1"),
    ],
)
def test_prepare_psql_with_arguments_that_cannot_be_right(
    cli: Cli, args: list[str], message: str
) -> None:
    answer = cli.call("POST", "/v1/prepare-jobs", psql(*args))
    assert answer.status == 400
    error = answer.error()
    assert (error["code"], error["message"]) == ("invalid_argument", message)


def test_prepare_psql_of_an_unknown_image(cli: Cli) -> None:
    job = cli.watch(cli.submit({**psql("-c", "select 1"), "image_id": "postgres:9"})["job_id"]).job
    assert (job["status"], job["error"]["code"]) == ("failed", "image_unavailable")
    assert job["error"]["message"]


def test_prepare_psql_of_standard_input(cli: Cli) -> None:
    text = "create table s as select 'a<b & \u2028' as c;\n"
    result = cli.prepare(psql("-f", "-", stdin=text))
    assert query(result["dsn"], "select c from s") == "a<b & \u2028"


def test_prepare_psql_from_a_remote_profile(cli: Cli, workspace: Path) -> None:
    place = {"root_path": str(workspace), "work_dir": str(workspace)}
    manifest = {"workspace_ref": place, "files": {}, "not_invented_yet": [1.5]}
    assert cli.prepare(psql("-c", "select 'remote'", source_manifest=manifest))
    # The same profile with its source sync off.
    assert cli.prepare(psql("-c", "select 'remote'", source_manifest=None))


def test_prepare_psql_from_a_newer_cli(cli: Cli) -> None:
    assert cli.prepare(psql("-c", "select 'newer'", not_invented_yet=[None], stdin=None))


def test_prepare_psql_without_arguments(cli: Cli) -> None:
    body = {"prepare_kind": "psql", "image_id": IMAGE, "psql_args": None, "liquibase_args": None}
    job = cli.watch(cli.submit(body)["job_id"]).job
    assert job["status"] == "succeeded", job


def test_prepare_lb_sends_null_for_psql_args(cli: Cli, workspace: Path) -> None:
    fix_liquibase.found()
    job = cli.watch(cli.submit(liquibase(workspace))["job_id"]).job
    assert job["status"] == "succeeded", job
    assert job["prepare_args_normalized"] == "update --changelog-file=changes.sql"
    (step,) = [task for task in job["tasks"] if task["type"] == "state_execute"]
    names = step["changeset_id"], step["changeset_author"], step["changeset_path"]
    assert names == ("one", "a", "changes.sql")
    with psycopg.connect(job["result"]["dsn"]) as connection:
        assert connection.execute("select count(*) from c").fetchone() == (0,)


def test_prepare_lb_without_liquibase(cli: Cli, workspace: Path) -> None:
    missing = liquibase(workspace, liquibase_exec="/nowhere/liquibase")
    job = cli.watch(cli.submit(missing)["job_id"]).job
    assert job["error"]["code"] == "liquibase_unavailable"
    refused = cli.call("POST", "/v1/prepare-jobs", {**missing, "liquibase_args": ["rollback"]})
    assert refused.status == 400
    assert refused.json()["message"] == "unsupported lb command"


def test_prepare_psql_no_watch_then_watch_by_prefix(cli: Cli, daemon: EngineProcess) -> None:
    accepted = cli.submit(psql("-c", "select 'watched', pg_sleep(0.5)"))
    assert check(ACCEPTED, accepted)["status"] == "queued"
    job_id = accepted["job_id"]
    with Cli(daemon) as watcher:
        watcher.connect()
        prefix = job_id[:12]
        assert watcher.call("GET", f"/v1/prepare-jobs/{prefix}").status == 404
        (row,) = watcher.get(f"/v1/prepare-jobs?job={prefix}", [JOB])
        assert row["job_id"] == job_id
        assert watcher.watch(job_id).job["status"] == "succeeded"
        # Watching what is over takes one look.
        assert watcher.job(job_id)["result"]


@pytest.mark.parametrize("word", ["0" * 32, "nothing", "%25", "a%20b"])
def test_watch_nothing(cli: Cli, word: str) -> None:
    assert cli.call("GET", f"/v1/prepare-jobs/{word}").status == 404
    assert cli.get(f"/v1/prepare-jobs?job={word}", [JOB]) == []


def test_prepare_psql_stopped_with_ctrl_c(cli: Cli) -> None:
    job_id = cli.submit(psql("-c", "select pg_sleep(60)"))["job_id"]
    stream = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events")
    asked = False
    for line in stream.lines():
        event = json.loads(line)
        if event.get("task_id") == "execute-0" and not asked:
            asked = True
            answer = cli.call("POST", f"/v1/prepare-jobs/{job_id}/cancel")
            assert answer.status == 202
            assert answer.json()["job_id"] == job_id
        if event["type"] == "status" and event["status"] in TERMINAL:
            break
    job = cli.job(job_id)
    assert (job["status"], job["error"]["code"]) == ("failed", "cancelled")
    assert cli.call("POST", f"/v1/prepare-jobs/{job_id}/cancel").status == 200


# The event stream


@pytest.mark.parametrize(
    ("args", "ending"),
    [(("-c", "select 'raced'"), "result"), (("-c", "select raced"), "error")],
    ids=["succeeding", "failing"],
)
def test_prepare_psql_finds_the_job_ended_when_the_status_event_comes(
    cli: Cli, args: tuple[str, ...], ending: str
) -> None:
    for _ in range(12):
        job_id = cli.submit(psql(*args))["job_id"]
        stream = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events")
        kinds = []
        for line in stream.lines():
            # The row is asked for the moment the line is there, on an open connection.
            job = cli.job(job_id)
            event = json.loads(line)
            kinds.append(event["type"])
            if event["type"] == "status" and event["status"] in TERMINAL:
                assert job["status"] == event["status"]
                assert ending in job
                assert job["finished_at"]
        # After the status comes what the CLI does not wait for, and the stream's proper end.
        assert kinds[-2:] == ["status", ending]
    assert cli.connections == 2


def test_plan_psql_finds_its_tasks_when_the_status_event_comes(cli: Cli, workspace: Path) -> None:
    args = ("-f", str(workspace / "one.sql"), "-f", str(workspace / "two.sql"))
    for _ in range(5):
        job_id = cli.submit(psql(*args, plan_only=True))["job_id"]
        stream = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events")
        kinds = []
        for line in stream.lines():
            job = cli.job(job_id)
            event = json.loads(line)
            kinds.append(event["type"])
            if event["type"] == "status" and event["status"] in TERMINAL:
                assert (job["status"], job["plan_only"]) == ("succeeded", True)
                assert job["tasks"]
        assert kinds[-1] == "status", "a plan has no result"


def test_plan_psql(cli: Cli, workspace: Path) -> None:
    body = psql("-f", str(workspace / "one.sql"), "-c", "select 'planned'", plan_only=True)
    before = cli.get("/v1/instances", [INSTANCE])
    job = cli.watch(cli.submit(body)["job_id"]).job
    assert (job["status"], job["plan_only"], "result" in job) == ("succeeded", True, False)
    assert [task["type"] for task in job["tasks"]] == [
        "plan",
        "resolve_image",
        "state_execute",
        "state_execute",
        "prepare_instance",
    ]
    # "Final state:" of the CLI's output.
    assert job["tasks"][-1]["input"] == {"kind": "state", "id": job["tasks"][3]["output_state_id"]}
    assert job["tasks"][3]["cached"] is False
    assert cli.get("/v1/instances", [INSTANCE]) == before


def test_plan_lb(cli: Cli, workspace: Path) -> None:
    fix_liquibase.found()
    job = cli.watch(cli.submit(liquibase(workspace, plan_only=True))["job_id"]).job
    assert job["plan_only"] is True
    assert job["status"] == "succeeded", job
    kinds = [task["type"] for task in job["tasks"]]
    assert kinds == ["plan", "resolve_image", "state_execute", "prepare_instance"]
    assert job["tasks"][0]["planner_kind"] == "lb"


def test_prepare_psql_by_many_at_once(daemon: EngineProcess) -> None:
    # More than the identical jobs that are kept: each still finds its own at the end.
    def prepare(_: int) -> str:
        with Cli(daemon) as cli:
            cli.connect()
            state_id: str = cli.prepare(psql("-c", "select 'by many'"))["state_id"]
            return state_id

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(prepare, range(6)))) == 1


def test_prepare_psql_printing_a_long_line(cli: Cli) -> None:
    sql = "do $$ begin raise notice '%', repeat('x', 300000); end $$"
    watched = cli.watch(cli.submit(psql("-c", sql))["job_id"])
    assert watched.job["status"] == "succeeded"
    assert any("x" * 300_000 in event.get("message", "") for event in watched.events)


@pytest.mark.slow
def test_prepare_psql_outlasting_the_clients_timeout(cli: Cli) -> None:
    # The CLI gives up after 30 s, wherever it is; here that is a fraction of a second.
    job_id = cli.submit(psql("-c", TICKS))["job_id"]
    watched = cli.watch(job_id, timeout=0.15)
    assert watched.job["status"] == "succeeded"
    assert len(watched.requests) > 1
    ranges = [range_ for range_, _ in watched.requests]
    assert ranges[-1] is not None
    everything = replay(cli, job_id)
    assert watched.events == everything[: len(watched.events)]
    ticks = [event["message"] for event in everything if "tick" in event.get("message", "")]
    assert len(ticks) == 12


def test_prepare_psql_resumed_at_the_live_edge(cli: Cli, daemon: EngineProcess) -> None:
    job_id = cli.submit(psql("-c", "select 'edge', pg_sleep(1)"))["job_id"]
    with Cli(daemon) as first:
        stream = first.send("GET", f"/v1/prepare-jobs/{job_id}/events")
        seen = []
        for line in stream.lines():
            seen.append(json.loads(line))
            if seen[-1].get("task_id") == "execute-0":
                break
        stream.close()
    rest = replay(cli, job_id, start=len(seen))
    assert seen + rest == replay(cli, job_id)
    assert rest[-1]["type"] == "result"


def test_prepare_psql_resumed_anywhere(cli: Cli) -> None:
    job_id = cli.submit(psql("-c", "select 'anywhere'"))["job_id"]
    everything = replay(cli, job_id)
    for start in range(len(everything) + 1):
        assert replay(cli, job_id, start=start) == everything[start:]


def test_prepare_psql_watched_while_the_engine_stops(engine: EngineProcess) -> None:
    with Cli(engine) as cli:
        job_id = cli.submit(psql("-c", "select pg_sleep(60)"))["job_id"]
        lines = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events").lines()
        next(line for line in lines if b'"execute-0"' in line)
        engine.process.terminate()
        # The job is not over, so its stream may break, but not end as if it were.
        with pytest.raises((EOFError, ConnectionError)):
            list(lines)


# run


def test_run_psql(cli: Cli, instance: str) -> None:
    events = cli.run(run(instance, {"args": ["-c", "select 1"]}, SELECT_BY_FILE))
    assert (events[0]["type"], events[0]["instance_id"]) == ("start", instance)
    assert (events[-1]["type"], events[-1]["exit_code"]) == ("exit", 0)
    assert output(events).count("(1 row)") == 2
    assert output(events, "stderr") == ""


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"args": ["-v", "ON_ERROR_STOP=1", "-c", "select nope"]}, 1),
        ({"args": ["-v", "ON_ERROR_STOP=1", "-f", "-"], "stdin": "select nope;\n"}, 3),
    ],
    ids=["command", "script"],
)
def test_run_psql_failing(cli: Cli, instance: str, step: dict[str, Any], code: int) -> None:
    events = cli.run(run(instance, step, {"args": ["-c", "select 'never'"]}))
    assert (events[-1]["type"], events[-1]["exit_code"]) == ("exit", code)
    assert 'column "nope" does not exist' in output(events, "stderr")
    assert "never" not in output(events)


def test_run_psql_with_output_longer_than_the_clis_lines(cli: Cli, instance: str) -> None:
    # Quotation marks and non-ASCII take more room in JSON than they are long.
    sql = r"""select repeat('x', 200000), repeat('"', 100000), repeat('ü', 100000)"""
    events = cli.run(run(instance, {"args": ["-Atc", sql]}))
    wanted = "|".join(("x" * 200_000, '"' * 100_000, "ü" * 100_000))
    assert output(events) == wanted + "\n"
    assert events[-1]["exit_code"] == 0


def test_run_psql_of_a_large_file(cli: Cli, instance: str) -> None:
    lines = "-- a line of no importance, of which there are very many\n" * 50_000
    step = {"args": ["-Atq", "-f", "-"], "stdin": f"{lines}select 'at last';\n"}
    events = cli.run(run(instance, step))
    assert (output(events), events[-1]["exit_code"]) == ("at last\n", 0)


def test_run_psql_outlasting_the_clients_timeout(cli: Cli) -> None:
    instance_id = cli.prepare(psql("-c", "select 'given up'"))["instance_id"]
    body = run(instance_id, {"args": ["-c", "select pg_sleep(60)"]})
    answer = cli.send("POST", "/v1/runs", body)
    skip_unwired(answer)
    answer.give_up_in(0.5)
    with pytest.raises(TimeoutError):
        list(answer.lines())
    answer.close()
    # Nobody waits for the query any more, so it must not be in the way of the cleaning up.
    eventually(lambda: cli.call("DELETE", f"/v1/instances/{instance_id}").status != 409)
    assert cli.call("GET", f"/v1/instances/{instance_id}").status == 404


def test_run_psql_with_null_and_unknown_fields(cli: Cli, instance: str) -> None:
    body = run(instance, {"args": ["-Atc", "select 5"], "stdin": None, "label": "five"})
    body.update(args=None, stdin=None, command=None, not_invented_yet={})
    events = cli.run(body)
    assert (output(events), events[-1]["exit_code"]) == ("5\n", 0)


def test_run_psql_with_a_connection_flag(cli: Cli, instance: str) -> None:
    answer = cli.call("POST", "/v1/runs", run(instance, {"args": ["-h", "x", "-c", "select 1"]}))
    skip_unwired(answer)
    assert answer.status == 409
    error = answer.error()
    assert (error["code"], error["message"]) == (
        "conflict",
        "conflicting psql connection arguments",
    )


@pytest.mark.parametrize("ref", ["0" * 32, "no-such-name"])
def test_run_psql_against_nothing(cli: Cli, ref: str) -> None:
    answer = cli.call("POST", "/v1/runs", run(ref, {"args": ["-c", "select 1"]}))
    skip_unwired(answer)
    assert answer.status == 404
    assert answer.error()["code"] == "not_found"


def test_run_pgbench_initialises(cli: Cli, instance: str) -> None:
    body = {"instance_ref": instance, "kind": "pgbench", "args": ["-i", "-s", "1"]}
    events = cli.run(body)
    assert events[-1]["type"] == "exit", events
    assert events[-1]["exit_code"] == 0, output(events, "stderr")
    assert "creating tables" in output(events) + output(events, "stderr")


def test_run_pgbench_file(cli: Cli, instance: str) -> None:
    args = ["-n", "-f", "/dev/stdin", "-t", "5"]
    body = {"instance_ref": instance, "kind": "pgbench", "args": args, "stdin": "select 1;\n"}
    events = cli.run(body)
    assert events[-1].get("exit_code") == 0, output(events, "stderr")
    assert "number of transactions actually processed: 5/5" in output(events)


def test_prepare_psql_and_run_psql(cli: Cli, daemon: EngineProcess, workspace: Path) -> None:
    result = cli.prepare(psql("-f", str(workspace / "one.sql")))
    instance_id = result["instance_id"]
    with Cli(daemon) as runner:
        runner.connect()
        events = runner.run(run(instance_id, {"args": ["-Atc", "select count(*) from a"]}))
        assert (output(events), events[-1]["exit_code"]) == ("3\n", 0)
    with Cli(daemon) as cleaner:
        cleaner.connect()
        # The run's own session must not be in the way: this DELETE has no force.
        deleted = remove(cleaner, f"/v1/instances/{instance_id}")
    assert deleted["outcome"] == "deleted"
    assert deleted["root"]["connections"] == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(result["dsn"])


# rm


def test_rm_dry_run_then_rm_of_an_instance(cli: Cli) -> None:
    result = cli.prepare(psql("-c", "select 'removed'"))
    instance_id = result["instance_id"]
    (kind,) = matches(cli, instance_id[:12])
    assert kind == "instances"
    path = f"/v1/instances/{instance_id}"
    foreseen = remove(cli, f"{path}?dry_run=true")
    assert (foreseen["dry_run"], foreseen["outcome"]) == (True, "would_delete")
    assert query(result["dsn"], "select 1") == 1
    deleted = remove(cli, path)
    assert (deleted["dry_run"], deleted["outcome"]) == (False, "deleted")
    assert (deleted["root"]["kind"], deleted["root"]["id"]) == ("instance", instance_id)
    assert deleted["root"]["connections"] == 0
    assert matches(cli, instance_id[:12]) == {}


def test_rm_of_an_instance_in_use(cli: Cli) -> None:
    result = cli.prepare(psql("-c", "select 'in use'"))
    path = f"/v1/instances/{result['instance_id']}"
    with psycopg.connect(result["dsn"]):
        blocked = remove(cli, path, status=409)
        assert blocked["outcome"] == "blocked"
        assert blocked["root"]["blocked"] == "active_connections"
        assert blocked["root"]["connections"] == 1
        foreseen = remove(cli, f"{path}?dry_run=true")
        assert (foreseen["dry_run"], foreseen["outcome"]) == (True, "blocked")
        assert remove(cli, f"{path}?force=true")["outcome"] == "deleted"


def test_rm_of_a_state_blocked_then_recursive(cli: Cli) -> None:
    args = ("-c", "select 'parent'", "-c", "select 'child'")
    result = cli.prepare(psql(*args))
    (child,) = cli.get(f"/v1/states?id_prefix={result['state_id'][:12]}", [STATE])
    parent_id = child["parent_state_id"]
    assert set(matches(cli, parent_id[:12])) == {"states"}
    path = f"/v1/states/{parent_id}"
    for flags in ("", "?force=true"):
        blocked = remove(cli, path + flags, status=409)
        assert blocked["outcome"] == "blocked"
        assert blocked["root"]["blocked"] == "has_descendants"
    with psycopg.connect(result["dsn"]):
        blocked = remove(cli, f"{path}?recurse=true", status=409)
        reasons = {node["id"]: node.get("blocked") for node in nodes(blocked["root"])}
        assert reasons == {
            parent_id: "blocked_by_descendant",
            child["state_id"]: "blocked_by_descendant",
            result["instance_id"]: "active_connections",
        }
    foreseen = remove(cli, f"{path}?dry_run=true&force=true&recurse=true")
    assert foreseen["outcome"] == "would_delete"
    deleted = remove(cli, f"{path}?recurse=true")
    assert [(node["kind"], node["id"]) for node in nodes(deleted["root"])] == [
        ("state", parent_id),
        ("state", child["state_id"]),
        ("instance", result["instance_id"]),
    ]
    assert cli.get(f"/v1/states?id_prefix={parent_id[:12]}", [STATE]) == []


def test_rm_of_a_job_leaves_its_instance(cli: Cli) -> None:
    job_id = cli.submit(psql("-c", "select 'a job'"))["job_id"]
    result = cli.watch(job_id).job["result"]
    assert set(matches(cli, job_id[:12])) == {"jobs"}
    deleted = remove(cli, f"/v1/prepare-jobs/{job_id}")
    assert (deleted["outcome"], deleted["root"]["kind"]) == ("deleted", "job")
    assert query(result["dsn"], "select 1") == 1
    assert cli.call("GET", f"/v1/prepare-jobs/{job_id}").status == 404


def test_rm_of_a_running_job(cli: Cli) -> None:
    job_id = cli.submit(psql("-c", "select pg_sleep(60)"))["job_id"]
    stream = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events")
    next(line for line in stream.lines() if b'"execute-0"' in line)
    stream.close()
    blocked = remove(cli, f"/v1/prepare-jobs/{job_id}", status=409)
    assert blocked["root"]["blocked"] == "active_tasks"
    assert remove(cli, f"/v1/prepare-jobs/{job_id}?force=true")["outcome"] == "deleted"


def test_rm_of_a_running_job_that_is_watched(cli: Cli, daemon: EngineProcess) -> None:
    for _ in range(5):
        job_id = cli.submit(psql("-c", "select pg_sleep(60)"))["job_id"]
        lines = cli.send("GET", f"/v1/prepare-jobs/{job_id}/events").lines()
        next(line for line in lines if b'"execute-0"' in line)
        with Cli(daemon) as other:
            removed = remove(other, f"/v1/prepare-jobs/{job_id}?force=true")
            assert removed["outcome"] == "deleted"
        rest = [json.loads(line) for line in lines]
        assert [event["status"] for event in rest if event["type"] == "status"] == ["failed"]


def test_rm_of_nothing(cli: Cli) -> None:
    assert matches(cli, "deadbeefdead") == {}
    for path in (f"instances/{'d' * 32}", f"states/{'d' * 64}", f"prepare-jobs/{'d' * 32}"):
        answer = cli.call("DELETE", f"/v1/{path}")
        assert (answer.status, answer.error()["code"]) == (404, "not_found")


def test_rm_of_an_ambiguous_prefix(engine: EngineProcess) -> None:
    with Cli(engine) as cli:
        state_id = cli.prepare(psql("-c", "select 'ambiguous'"))["state_id"]
    engine.stop()
    store = SqliteStore(engine.store / "state.db")
    # Ids are random or hashes: jobs that share the beginning of a state's have to be made.
    of_two_kinds, of_one_kind = state_id[:9], "0123456789ab"
    jobs = {f"{of_two_kinds:f<32}", f"{of_one_kind:0<32}", f"{of_one_kind:1<32}"}
    for job_id in jobs:
        store.jobs.add(stored_job(job_id=job_id, status="failed"))
    store.close()
    engine.start()
    with Cli(engine) as cli:
        cli.connect()
        found = matches(cli, of_two_kinds)
        assert {kind: len(rows) for kind, rows in found.items()} == {"states": 1, "jobs": 1}
        found = matches(cli, of_one_kind)
        assert {kind: len(rows) for kind, rows in found.items()} == {"jobs": 2}
        # Too short for instances and states, which are not even asked for.
        found = matches(cli, of_one_kind[:3])
        assert {row["job_id"] for row in found["jobs"]} == {
            job_id for job_id in jobs if job_id.startswith("012")
        }
        assert cli.call("GET", "/v1/instances?id_prefix=0123").status == 400


# config


def test_config_get_effective(cli: Cli) -> None:
    path = "cache.capacity.highWatermark"
    setting = cli.get(f"/v1/config?effective=true&path={path}", dict)
    assert setting == {"path": path, "value": 0.9}


def test_config_set_get_rm(cli: Cli) -> None:
    path = "cache.capacity.reserveBytes"
    answer = cli.call("PATCH", "/v1/config", {"path": path, "value": 0})
    assert answer.status == 200
    assert answer.json() == {"path": path, "value": 0}
    assert cli.get(f"/v1/config?path={path}", dict) == {"path": path, "value": 0}
    assert cli.get("/v1/config", dict)["cache"]["capacity"]["reserveBytes"] == 0
    answer = cli.call("DELETE", f"/v1/config?path={path}")
    assert answer.status == 200
    assert answer.json() == {"path": path, "value": None}
    assert cli.call("GET", f"/v1/config?path={path}").status == 404
    answer = cli.call("DELETE", f"/v1/config?path={path}")
    assert (answer.status, answer.error()["message"]) == (404, "path not found")


def test_config_set_bad(cli: Cli) -> None:
    answer = cli.call("PATCH", "/v1/config", {"path": "log.level", "value": "loud"})
    assert answer.status == 400
    error = answer.error()
    assert (error["code"], error["message"]) == ("invalid_argument", "invalid config value")
    assert error["details"]


def test_config_set_of_an_object_is_checked_like_its_parts(cli: Cli) -> None:
    wrong = {"path": "cache.capacity", "value": {"lowWatermark": 0.99}}
    answer = cli.call("PATCH", "/v1/config", wrong)
    assert (answer.status, answer.error()["message"]) == (400, "invalid config value")
    right = {"path": "cache.capacity", "value": {"highWatermark": 0.6, "lowWatermark": 0.5}}
    assert cli.call("PATCH", "/v1/config", right).status == 200
    assert cli.call("DELETE", "/v1/config?path=cache.capacity").status == 200


@pytest.mark.parametrize("path", ["log.level", "nothing.here"])
def test_config_get_of_what_is_not_set(cli: Cli, path: str) -> None:
    assert cli.call("GET", f"/v1/config?path={path}").status == 404


def test_config_schema(cli: Cli) -> None:
    schema = cli.get("/v1/config/schema", {"$schema": str, "properties": dict})
    assert {"log", "snapshot", "container", "orchestrator", "cache"} <= set(schema["properties"])


# cache explain


def test_cache_explain_prepare_psql_miss_then_hit(cli: Cli) -> None:
    body = psql("-c", f"select 'explained {os.getpid()}'")
    jobs = cli.get("/v1/prepare-jobs", [JOB])
    miss = explain(cli, body)
    assert (miss["decision"], miss["reason_code"]) == ("miss", "no_matching_state")
    assert "matched_state_id" not in miss
    assert cli.get("/v1/prepare-jobs", [JOB]) == jobs
    result = cli.prepare(body)
    hit = explain(cli, body)
    assert (hit["decision"], hit["reason_code"]) == ("hit", "exact_state_match")
    assert hit["matched_state_id"] == result["state_id"]
    assert hit["signature"] == miss["signature"]
    assert hit["resolved_image_id"] == result["image_id"]


def test_cache_explain_prepare_psql_with_a_connection_flag(cli: Cli) -> None:
    answer = cli.call("POST", "/v1/cache/explain/prepare", psql("-h", "x", "-c", "select 1"))
    skip_unwired(answer)
    assert answer.status == 400
    assert answer.error()["message"] == "connection flags are not allowed"


def explain(cli: Cli, body: dict[str, Any]) -> dict[str, Any]:
    answer = cli.call("POST", "/v1/cache/explain/prepare", body)
    skip_unwired(answer)
    assert answer.status == 200, answer.read()
    decision: dict[str, Any] = check(DECISION, answer.json())
    return decision
