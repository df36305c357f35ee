"""The commands people type, against real engines."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support import fix_liquibase
from support.fix_engine import EngineFactory, environment
from support.shell import Shell
from support.waiting import eventually

from sqlrs_engine.daemon import engine_file

pytestmark = pytest.mark.postgres


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


def value(dsn: str, sql: str) -> object:
    with psycopg.connect(dsn.strip()) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


def test_the_store_is_the_one_that_the_sqlrs_cli_has_chosen(
    shell: Shell, engine_factory: EngineFactory
) -> None:
    chosen = shell.home / "elsewhere"
    extra = {"SQLRS_STATE_STORE": str(chosen), "HOME": str(shell.home)}
    daemon = engine_factory(state_dir=shell.state_dir, environ=extra).start()
    status = json.loads(shell.out("status", "--json"))
    assert status["store"] == str(chosen)
    assert daemon.stop() == 0
    # Nobody says any more which store it is, but for what the daemon left behind.
    ended = shell.run("status", "--json")
    assert ended.returncode == 3
    assert json.loads(ended.stdout)["store"] == str(chosen)


def test_settings_are_shown_changed_and_restored(shell: Shell) -> None:
    assert json.loads(shell.out("config", "get")) == {}
    assert shell.out("config", "set", "instances.ttl", "8h") == 'instances.ttl = "8h"\n'
    shell.out("config", "set", "postgres.roles", '["app"]')
    assert json.loads(shell.out("config", "get")) == {
        "instances": {"ttl": "8h"},
        "postgres": {"roles": ["app"]},
    }
    shell.out("prepare", "--", "-c", "create table t (); alter table t owner to app")
    assert shell.out("config", "rm", "instances.ttl") == 'instances.ttl = "24h"\n'
    assert json.loads(shell.out("config", "get", "instances.ttl", "--effective")) == "24h"
    assert shell.run("config", "get", "instances.ttl").returncode == 1
    restart = shell.run("config", "set", "orchestrator.jobs.workers", "2")
    assert "when the engine next starts" in restart.stderr
    refused = shell.run("config", "set", "postgres.roles", '["pg_x"]')
    assert refused.returncode == 1
    assert "PostgreSQL reserves the name pg_x" in refused.stderr
    refused = shell.run("config", "set", "orchestrator.jobs.workers", "NaN")
    assert "must be a whole number" in refused.stderr


def test_a_day_with_the_engine(shell: Shell) -> None:
    (shell.home / "schema.sql").write_text("create table t (n int);\n")
    assert shell.run("status").returncode == 3

    ended = shell.run("prepare", "--name", "dev", "--", "-f", "schema.sql", "-c", "select 1")
    assert ended.returncode == 0, ended.stderr
    dsn = ended.stdout
    assert value(dsn, "select count(*) from t") == 0
    assert "execute-0: running" in ended.stderr
    assert dsn.count("\n") == 1

    status = shell.json("status")
    assert isinstance(status, dict)
    assert (status["running"], status["instances"], status["states"]) == (True, 1, 2)

    listing = shell.out("ls")
    assert "names (1)" in listing
    assert "dev" in listing
    assert "instances (1)" in listing
    jobs = shell.json("ls", "jobs")
    assert isinstance(jobs, list)
    assert jobs[0]["status"] == "succeeded"

    plan = shell.out("prepare", "--plan", "--", "-f", "schema.sql", "-c", "select 2")
    assert [line.split()[2] for line in plan.splitlines()] == ["CACHED", "yes", "no"]

    assert "would be deleted" in shell.out("rm", "--dry-run", "dev")
    assert value(dsn, "select 1") == 1
    with psycopg.connect(dsn.strip()):
        blocked = shell.run("rm", "dev")
        assert blocked.returncode == 4
        assert "active_connections" in blocked.stdout
    # The session just closed counts until its server has ended.
    eventually(lambda: "deleted" in shell.run("rm", "dev").stdout)
    assert shell.json("ls", "instances") == []
    assert shell.json("ls", "names") == []

    assert "stopped" in shell.out("stop")
    assert not (shell.state_dir / "engine.json").exists()
    assert "no engine is running" in shell.out("stop")


def test_scripts_read_files_as_psql_does_in_the_same_directory(shell: Shell) -> None:
    database = shell.home / "db"
    database.mkdir()
    (database / "tables.sql").write_text("create table t as select 5 as n;\n")
    (database / "all.sql").write_text("\\i db/tables.sql\n")
    dsn = shell.out("prepare", "--", "-f", "db/all.sql")
    assert value(dsn, "select n from t") == 5
    (database / "all.sql").write_text("\\i tables.sql\n")
    ended = shell.run("prepare", "--", "-f", "db/all.sql")
    assert ended.returncode == 1
    assert "psql looks for it in its working directory, not beside the script" in ended.stderr
    assert "write \\ir, or prepare in the directory of the script" in ended.stderr
    assert f"(in {database}, there is tables.sql)" in ended.stderr
    (database / "all.sql").write_text("\\ir tables.sql\n")
    plan = shell.out("prepare", "--plan", "--", "-f", "db/all.sql")
    assert plan.splitlines()[0].split() == ["STEP", "STATE", "CACHED", "INPUT"]


def test_standard_input_and_json(shell: Shell) -> None:
    text = shell.out(
        "prepare", "--json", "--", "-f", "-", input="create table t as select 3 as n;\n"
    )
    result = json.loads(text)
    assert value(result["dsn"], "select n from t") == 3
    instance = shell.json("ls", "instances")
    assert isinstance(instance, list)
    assert instance[0]["instance_id"] == result["instance_id"]


def test_removal_by_prefix_and_of_nothing(shell: Shell) -> None:
    result = json.loads(shell.out("prepare", "--json", "--", "-c", "select 1"))
    nothing = shell.run("rm", "deadbeefdead", "no-such-name")
    assert (nothing.returncode, nothing.stderr.count("warning")) == (0, 2)
    state = result["state_id"][:10].upper()
    assert shell.run("rm", state).returncode == 4
    assert "instance" in shell.out("rm", "--recurse", state)
    assert shell.json("ls", "states") == []


def test_one_removal_that_fails_does_not_stop_the_next(shell: Shell) -> None:
    result = json.loads(shell.out("prepare", "--json", "--name", "dev", "--", "-c", "select 1"))
    [job] = shell.json("ls", "jobs")
    state = result["state_id"]
    # The second time it is gone.
    run = shell.run("rm", "--recurse", state, state, job["job_id"])
    assert run.returncode == 1, run.stderr
    assert state in run.stderr
    assert [shell.json("ls", kind) for kind in ("states", "jobs")] == [[], []]


def test_failing_sql_is_explained(shell: Shell) -> None:
    ended = shell.run("prepare", "--", "-c", "select nonsense")
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "nonsense" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_refused_request_is_explained(shell: Shell) -> None:
    ended = shell.run("prepare", "--", "-h", "elsewhere")
    assert ended.returncode == 2
    assert "connection flags are not allowed: -h" in ended.stderr
    ended = shell.run("prepare", "--name", "bad name", "--", "-c", "select 1")
    assert (ended.returncode, "invalid name" in ended.stderr) == (2, True)
    assert not (shell.state_dir / "engine.json").exists(), "it was started for nothing"


def test_ctrl_c_cancels_the_job(shell: Shell) -> None:
    process = subprocess.Popen(
        shell.command("prepare", "--", "-c", "select pg_sleep(60)"),
        env=environment(shell.home),
        cwd=shell.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "execute-0: running" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "cancelled" in err
    jobs = shell.json("ls", "jobs")
    assert isinstance(jobs, list)
    assert [job["status"] for job in jobs] == ["failed"]


def test_serve_prints_where_it_is_and_ends_on_ctrl_c(shell: Shell) -> None:
    process = subprocess.Popen(
        shell.command("serve"),
        env=environment(shell.home),
        cwd=shell.home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
    assert process.stdout is not None
    endpoint, file = process.stdout.readline().split(), process.stdout.readline().split()
    record = engine_file.read(shell.state_dir / "engine.json")
    assert record is not None
    assert endpoint == ["endpoint:", record.base_url]
    assert file[-1] == str(shell.state_dir / "engine.json")
    assert f"pid: {process.pid}" in shell.out("status")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "")


def test_doctor_finds_what_there_is(shell: Shell) -> None:
    findings = shell.json("doctor")
    assert isinstance(findings, list)
    verdicts = {finding["subject"]: finding["verdict"] for finding in findings}
    assert verdicts["PostgreSQL"] == verdicts["store"] == "ok"
    assert verdicts["engine"] == "note"
    assert "PostgreSQL" in shell.out("doctor")
    assert not shell.state_dir.exists(), "doctor changes nothing"


def test_postgres_list_shows_the_default(shell: Shell) -> None:
    found = shell.json("postgres", "list")
    assert isinstance(found, list)
    assert any(each["version"].startswith("18.") for each in found)
    assert "VERSION" in shell.out("postgres", "list")


def test_a_closed_pipe_is_no_error(shell: Shell) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        shell.command("postgres", "list"),
        env=environment(shell.home),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr


def test_prepare_from_a_changelog(shell):
    fix_liquibase.found()
    (shell.home / "c.sql").write_text(
        "--liquibase formatted sql\n--changeset me:1\ncreate table c as select 7 as n;\n"
    )
    done = shell.run("prepare", "--liquibase", "--", "update", "--changelog-file", "c.sql")
    assert done.returncode == 0, done.stderr
    with psycopg.connect(done.stdout.strip()) as connection:
        assert connection.execute("select n from c").fetchone() == (7,)
    planned = shell.run(
        "prepare", "--plan", "--liquibase", "--", "update", "--changelog-file", "c.sql"
    )
    assert "yes" in planned.stdout
    failed = shell.run("prepare", "--liquibase", "--", "drop-all")
    assert failed.returncode == 1
    assert "unsupported lb command" in failed.stderr


def test_clients_that_come_first_at_the_same_time_share_one_engine(shell: Shell) -> None:
    command = shell.command("prepare", "--plan", "--json", "--", "-c", "select 1")
    clients = [
        subprocess.Popen(
            command,
            env=environment(shell.home),
            cwd=shell.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    ends = [(client.communicate(timeout=150), client.returncode) for client in clients]
    assert [(error, code) for (_, error), code in ends if code != 0] == []
    jobs = {json.loads(output)["job_id"] for (output, _), _ in ends}
    listed = shell.json("ls", "jobs")
    assert isinstance(listed, list)
    assert jobs >= {job["job_id"] for job in listed}  # all by one engine, which retires old ones


def test_a_program_gets_an_instance_by_its_environment(shell: Shell) -> None:
    shell.out("prepare", "--name", "mine", "--", "-c", "create table t as select 42 as answer")
    (instance,) = shell.json("ls", "instances")
    show = (
        "import os, json; print(json.dumps([open('/proc/self/cmdline').read(), dict(os.environ)]))"
    )
    own = {"PGHOST": "nowhere", "PGSERVICE": "other", "PGOPTIONS": "-c x=y", "PG_COLOR": "never"}
    told = subprocess.run(
        shell.command("exec", "mine", "--", sys.executable, "-c", show),
        env=environment(shell.home, **own),
        cwd=shell.home,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    command, environ = json.loads(told.stdout)
    assert environ["PGPASSWORD"] in environ["DATABASE_URL"]
    assert environ["PGPASSWORD"] not in command
    assert {name for name in environ if name.startswith("PG")} == {
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGPASSWORD",
        "PGDATABASE",
        "PGREQUIREAUTH",
        "PG_COLOR",
    }
    with psycopg.connect(environ["DATABASE_URL"]) as connection:
        assert connection.execute("select answer from t").fetchone() == (42,)
    # By a prefix of its id; psql is the default, and the instance's own where there is no other.
    reference = instance["instance_id"][:8]
    assert shell.out("exec", reference, "--", "psql", "-XAtc", "select answer from t") == "42\n"
    assert shell.out("exec", "mine", input="select answer + 1 from t").split()[2] == "43"
    assert shell.run("exec", "mine", "--", "psql", "-Xc", "select 1/0").returncode == 1
    # The PATH may have one of an older version, which refuses the server.
    assert "-- Dumped by pg_dump version 18" in shell.out("exec", "mine", "--", "pg_dumpall")
    missing = shell.run("exec", "mine", "--", "no-such-program")
    assert (missing.returncode, "program not found: no-such-program" in missing.stderr) == (2, True)
    unknown = shell.run("exec", "yours")
    assert (unknown.returncode, "instance not found: yours" in unknown.stderr) == (1, True)
    no_text = shell.run("exec", "y\udcff")
    assert (no_text.returncode, "is not UTF-8" in no_text.stderr) == (2, True)


def test_an_engine_starts_with_a_wrong_configuration_and_says_so(shell: Shell) -> None:
    store = shell.state_dir / "store"
    store.mkdir(mode=0o700, parents=True)
    wrong = {"log": {"level": "loud"}, "snapshot": {"backend": "overlay"}, "pool": {"idle": "1m"}}
    (store / "config.json").write_text(json.dumps(wrong))
    shell.out("prepare", "--", "-c", "select 1")
    for said in (
        (shell.state_dir / "logs" / "engine.log").read_text(),
        shell.out("status"),
        shell.out("doctor"),
    ):
        assert "log.level is at the default" in said
        assert "snapshot.backend is at the default" in said
        assert "pool.idle" not in said


def test_a_command_is_prepared_with_the_programs_of_the_shell(
    shell: Shell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = tmp_path_factory.mktemp("programs")
    tool = programs / "tool"
    tool.write_text(
        f"#!{sys.executable}\n"
        "import os, pathlib, psycopg\n"
        "with psycopg.connect(os.environ['DB']) as connection:\n"
        "    connection.execute(pathlib.Path('1.sql').read_text())\n"
        "print('migrated', os.environ['APP_ENV'])\n"
    )
    tool.chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    migrations = shell.home / "db"
    migrations.mkdir()
    (migrations / "1.sql").write_text("create table t as select 1 as n")
    shell.environ |= {"PATH": path, "APP_ENV": "test"}
    words = [
        *("prepare", "--command", "--input", "*.sql", "--work-dir", "db"),
        *("--env", "DB={DATABASE_URL}", "--env", "APP_ENV"),
    ]
    ended = shell.run(*words, "--verbose", "--", "tool")
    assert ended.returncode == 0, ended.stderr
    assert "tool: migrated test" in ended.stderr
    assert value(ended.stdout, "select n from t") == 1

    plan = json.loads(shell.out(*words, "--plan", "--json", "--", "tool"))
    assert [task["cached"] for task in plan["tasks"] if task["type"] == "state_execute"] == [True]

    ended = shell.run(*words, "--", "no-such-tool")
    assert ended.returncode == 1
    assert "the program of the command is not on this machine" in ended.stderr
    ended = shell.run("prepare", "--command", "--input", "nothing/*", "--", "tool")
    assert ended.returncode == 1
    assert "nothing/*" in ended.stderr


def test_the_files_that_a_command_opens_are_listed_and_nothing_is_kept(shell: Shell) -> None:
    shell = shell.at(shell.directory / "app")
    for name in ("migrations/1.sql", "migrations/2.sql", "settings.txt"):
        (shell.directory / name).parent.mkdir(parents=True, exist_ok=True)
        (shell.directory / name).touch()
    program = ("--", "sh", "-c", "cat migrations/*.sql settings.txt")
    table = shell.run("prepare", "--command", "--trace-inputs", "--input", "*.txt", *program)
    assert table.returncode == 0, table.stderr
    assert [line.split() for line in table.stdout.splitlines()] == [
        ["FILE", "DECLARED"],
        ["migrations/1.sql", "no"],
        ["migrations/2.sql", "no"],
        ["settings.txt", "yes"],
    ]
    assert "--input 'migrations/**'" in table.stderr
    traced = json.loads(shell.out("prepare", "--command", "--trace-inputs", "--json", *program))
    assert traced["suggested"] == ["migrations/**", "settings.txt"]
    assert shell.json("ls", "states") == []
