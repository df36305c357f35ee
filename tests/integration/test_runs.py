"""Runs on real PostgreSQL: what psql and pgbench do, and what is left when they have ended."""

import json
import os
import pwd
import re
import socket
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from support.http_fakes import TOKEN, app, serving
from support.run_reader import RunReader, text
from support.waiting import PATIENCE, eventually

from sqlrs_engine import instances, stream
from sqlrs_engine.clock import utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.deletion import Deletion
from sqlrs_engine.errors import InvalidArgument, NotFound
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.instances import Expiry, Instances, Servers, configured_ports
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.registry import Registry
from sqlrs_engine.runs import Runs
from sqlrs_engine.statefs import StateFs, data_dir
from sqlrs_engine.statefs.probe import choose_backend
from sqlrs_engine.statefs.scratch import Scratch
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import State
from sqlrs_engine.store.sqlite import SqliteStore

pytestmark = pytest.mark.postgres

STATE = "ab" * 32


class Engine:
    """The parts of an engine that runs need, over one store with one state."""

    def __init__(self, root: Path, distribution) -> None:
        user = OsUser.for_engine(None)
        search = [Path(each) for each in os.get_exec_path()]
        self.distributions = Distributions(root / "distributions", search=search)
        self.distribution = self.distributions.get(distribution.image_id)
        self.files = StateFs(
            root, choose_backend(root, "copy"), owner=(user.uid, user.gid) if user else None
        )
        config = Config(root / "config.json")
        self.store = SqliteStore(root / "state.db")
        leases = Leases()
        expiry = Expiry(self.store, config, utc_now)
        self.registry = Registry(self.store, on_names_changed=expiry.renew)
        self.servers = Servers(self.distributions, user)
        self.instances = Instances(
            instances.Services(
                store=self.store,
                files=self.files,
                servers=self.servers,
                config=config,
                registry=self.registry,
                leases=leases,
                states=States(self.store.states, self.files, utc_now),
                expiry=expiry,
                ports=configured_ports(config, self.store.instances),
                clock=utc_now,
            )
        )
        self.deletion = Deletion(self.store, self.instances, leases, self.files)
        self.runs = Runs(
            self.registry,
            self.instances.restart,
            self.cluster,
            renew=expiry.renew,
            scratch=Scratch(root).directory,
        )
        self.services = Services(
            store=self.store,
            registry=self.registry,
            instances=self.instances,
            deletion=self.deletion,
            prepare=None,
            dumps=None,
            config=config,
            runs=self.runs,
            cache=None,
            images=None,
            sources=None,
        )
        self._add_state(user)

    def cluster(self, instance) -> Cluster:
        container = self.files.instance_dir(instance.instance_id)
        return self.servers.server(instance.image_id, container)

    def query(self, instance, sql):
        """Ask over a session of the engine's own, which counts as nobody's."""
        with self.cluster(instance).connect(instance.port) as connection:
            return connection.execute(sql).fetchall()

    def sessions(self, instance):
        """Return what the clients' sessions do, by application name."""
        return self.query(
            instance,
            "SELECT application_name, state, query FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND application_name <> 'sqlrs-engine'",
        )

    def open(self, instance, *args, **fields):
        body = {"instance_ref": instance.instance_id, "kind": "psql", "args": args, **fields}
        return Reader(self.runs.open(body))

    def run(self, instance, *args, **fields):
        """Run to the end and return the reader with all events."""
        reader = self.open(instance, *args, **fields)
        reader.until(lambda: reader.run.finished)
        return reader

    def delete(self, instance):
        return self.deletion.instance(instance.instance_id, force=False, dry_run=False).outcome

    def close(self) -> None:
        self.runs.shutdown(PATIENCE)
        self.instances.stop()
        for instance in self.store.instances.find(InstanceFilter()):
            self.instances.removal.remove(instance.instance_id)
        self.files.wait_idle(PATIENCE)
        self.store.close()

    def _add_state(self, user) -> None:
        workspace = self.files.new_workspace()
        cluster = Cluster(
            self.distribution,
            data_dir(workspace),
            os_user=user,
            log_file=workspace / "postgres.log",
        )
        cluster.initdb(lambda line: None)
        postmaster = cluster.start(port=None, settings={})
        try:
            with cluster.connect(postmaster.port) as connection:
                connection.execute("CREATE TABLE a AS SELECT generate_series(1, 3) AS n")
        finally:
            cluster.stop("fast")
        image_id = self.distribution.image_id
        assert self.files.publish(workspace, self.files.state_dir(image_id, STATE))
        self.store.states.add(
            State(
                state_id=STATE,
                parent_state_id=None,
                image_id=image_id,
                prepare_kind="psql",
                prepare_args_normalized="-c …",
                created_at=utc_now(),
            )
        )


class Reader(RunReader):
    """Reads a run; shows its output and its exit code."""

    def until(self, condition):
        super().until(lambda _events: condition())
        return self

    def until_printed(self, word):
        return self.until(lambda: word in self.out)

    @property
    def out(self):
        return text(self.events)

    @property
    def err(self):
        return text(self.events, "stderr")

    @property
    def code(self):
        assert self.events[-1]["type"] == "exit", self.events[-1]
        return self.events[-1]["exit_code"]


@pytest.fixture(scope="module")
def engine(tmp_path_factory, distribution):
    engine = Engine(tmp_path_factory.mktemp("store"), distribution)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def shared(engine):
    """An instance for tests that leave it as it is."""
    return engine.instances.creation.create(STATE)


@pytest.fixture
def instance(engine):
    instance = engine.instances.creation.create(STATE)
    yield instance
    engine.instances.removal.remove(instance.instance_id)


# The programs


def test_output_and_errors_are_kept_apart(engine, shared):
    result = engine.run(
        shared, "-At", "-f", "-", stdin="select 'out';\nselect nope;\nselect 'more';\n"
    )
    assert result.out == "out\nmore\n"
    assert 'ERROR:  column "nope" does not exist' in result.err
    assert result.code == 0


@pytest.mark.parametrize(
    ("args", "stdin", "code"),
    [
        (["-f", "-"], "\\q\n", 0),
        ([], "select 1;\n", 0),
        ([], None, 0),
        (["-c", "select nope"], None, 1),
        (["-v", "ON_ERROR_STOP=1", "-c", "select nope"], None, 1),
        (["-v", "ON_ERROR_STOP=1", "-f", "-"], "select nope;\nselect 'never';\n", 3),
        (["-f", "/nonexistent.sql"], None, 1),
        (["--no-such-option"], None, 1),
        (["-c", "select pg_terminate_backend(pg_backend_pid())"], None, 2),
    ],
)
def test_the_exit_code_of_a_run_is_that_of_psql(engine, shared, args, stdin, code):
    result = engine.run(shared, *args, stdin=stdin)
    assert result.code == code
    assert "never" not in result.out


@pytest.mark.parametrize("file", ["-", "/dev/stdin"])
def test_psql_reads_standard_input(engine, shared, file):
    assert engine.run(shared, "-Atf", file, stdin="select 'grün';\n").out == "grün\n"


def test_a_long_script_is_read_whole(engine, shared):
    script = "-- " + "x" * 80 + "\n"
    result = engine.run(shared, "-Atf", "-", stdin=script * 100_000 + "select 'the end';\n")
    assert result.out == "the end\n"


# What the sqlrs command line sent when it was recorded, and what it is to print.
RECORDED = [
    (
        '{"instance_ref":"ID","kind":"psql","args":[],"steps":[{"args":["-c","select 1"]},'
        '{"args":["-f","-"],"stdin":"select 1;\\n"}]}',
        0,
        " ?column? \n----------\n        1\n(1 row)\n\n" * 2,
    ),
    (
        '{"instance_ref":"ID","kind":"psql","args":[],'
        '"steps":[{"args":["-v","ON_ERROR_STOP=1","-c","select nope"]}]}',
        1,
        "",
    ),
    ('{"instance_ref":"ID","kind":"pgbench","args":["-i","-s","1"]}', 0, ""),
    (
        '{"instance_ref":"ID","kind":"pgbench","args":["-n","-f","/dev/stdin","-t","5"],'
        '"stdin":"select 1;\\n"}',
        0,
        "number of transactions actually processed: 5/5",
    ),
    (
        '{"instance_ref":"ID","kind":"psql","args":[],'
        '"steps":[{"args":["-Atc","select count(*) from a"]}]}',
        0,
        "3\n",
    ),
]


@pytest.mark.parametrize(
    ("body", "code", "out"), RECORDED, ids=["steps", "failing", "init", "file", "composite"]
)
def test_recorded_runs_of_the_sqlrs_cli_succeed(engine, instance, body, code, out):
    fields = json.loads(body.replace("ID", instance.instance_id))
    reader = Reader(engine.runs.open(fields))
    reader.until(lambda: reader.run.finished)
    assert reader.code == code, reader.err
    assert out in reader.out
    assert reader.events[0]["type"] == "start"


def test_no_step_follows_one_that_failed(engine, instance):
    steps = [
        {"args": ["-Atc", "select 'one'"]},
        {"args": ["-v", "ON_ERROR_STOP=1", "-f", "-"], "stdin": "select nope;"},
        {"args": ["-c", "create table never()"]},
    ]
    result = engine.run(instance, steps=steps)
    assert result.out == "one\n"
    assert result.code == 3
    assert engine.query(instance, "SELECT to_regclass('never')") == [(None,)]


def test_a_database_of_the_instance_may_be_named(engine, shared):
    assert engine.run(shared, "template1", "-Atc", "select current_database()").out == "template1\n"
    result = engine.run(shared, "-Atc", "select current_database(), current_user")
    assert result.out == "postgres|sqlrs\n"


def test_the_engines_users_psqlrc_is_not_read(engine, shared, tmp_path, monkeypatch):
    (tmp_path / ".psqlrc").write_text("\\echo from psqlrc\n")
    user = pwd.struct_passwd(("me", "x", os.geteuid(), os.getegid(), "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: user)
    assert engine.run(shared, "-Atf", "-", stdin="select 1;").out == "1\n"


def test_another_program_of_the_distribution_may_run(engine, shared):
    result = engine.run(shared, "--schema-only", command="pg_dump")
    assert result.code == 0, result.err
    assert "CREATE TABLE public.a" in result.out


@pytest.mark.parametrize(
    "command", ["sh", "echo", "/bin/echo", "../bin/psql", "./psql", "..", "psql -l", "no such"]
)
def test_only_programs_of_the_distribution_can_run(engine, shared, command):
    with pytest.raises(InvalidArgument) as caught:
        engine.open(shared, "hello", command=command)
    assert caught.value.details == command
    assert engine.runs.active() == 0


def test_relative_output_goes_with_the_run(engine, shared, tmp_path):
    kept = tmp_path / "kept.csv"
    script = (
        "\\o rel.txt\nselect 1;\n\\o\n"
        f"\\copy (select 2) to 'rel.csv'\n\\copy (select 3) to '{kept}'\n\\! pwd\n"
    )
    result = engine.run(shared, "-q", "-f", "-", stdin=script)
    directory = Path(result.out.strip())
    assert directory.parent.name == "scratch"
    assert not directory.exists()
    assert kept.read_text() == "3\n"
    notes = [event["message"] for event in result.events if event["type"] == "log"]
    assert len(notes) == 1
    assert "rel.csv, rel.txt" in notes[0]


def test_arguments_that_are_too_long_are_an_error(engine, shared):
    with pytest.raises(InvalidArgument, match="standard input"):
        engine.open(shared, "-c", f"select '{'x' * 200_000}'")


# Output


def test_many_rows_arrive_whole(engine, shared):
    result = engine.run(shared, "-Atc", "select generate_series(1, 200000)")
    assert result.out == "".join(f"{n}\n" for n in range(1, 200_001))


def test_a_long_row_comes_in_pieces_that_clients_can_read(engine, shared):
    result = engine.run(shared, "-Atc", "select repeat('€', 100000), repeat(E'\\x01', 100000)")
    assert result.out == "€" * 100_000 + "|" + "\1" * 100_000 + "\n"
    assert max(len(stream.encode_line(event)) for event in result.events) < 64 * 1024


def test_output_of_a_run_arrives_before_its_end(engine, shared):
    reader = engine.open(shared, "-Atf", "-", stdin="select 'first';\nselect pg_sleep(100);\n")
    try:
        reader.until_printed("first\n")
        assert [state for _, state, query in engine.sessions(shared) if "sleep" in query]
    finally:
        reader.run.cancel()


# Use


def test_a_run_has_sessions_of_its_own(engine, instance):
    result = engine.run(
        instance,
        "-Atc",
        "show application_name",
        "-c",
        "show client_connection_check_interval",
    )
    name, interval = result.out.splitlines()
    assert re.fullmatch(r"psql-[0-9a-f]{12}", name)
    assert interval == "1s"
    bench = {"kind": "pgbench", "stdin": "select pg_sleep(100);"}
    reader = engine.open(instance, "-n", "-f", "/dev/stdin", **bench)
    try:
        eventually(lambda: engine.instances.usage.connections(instance.instance_id) == 1)
        assert engine.delete(instance) == "blocked"
        assert engine.sessions(instance)[0][0].startswith("pgbench-")
    finally:
        reader.run.cancel()
    assert engine.delete(instance) == "deleted"


def test_a_run_renews_its_instance_until_its_end(engine, instance):
    before = engine.store.instances.get(instance.instance_id)
    opened = engine.open(instance, "-c", "select pg_sleep(0.3)")
    during = engine.store.instances.get(instance.instance_id)
    opened.until(lambda: opened.run.finished)
    after = engine.store.instances.get(instance.instance_id)
    assert before.activity_at < during.activity_at < after.activity_at
    assert before.expires_at < during.expires_at < after.expires_at


def test_an_instance_may_be_run_by_name(engine, instance):
    name, _ = engine.registry.bind("by-name", instance.instance_id)
    result = engine.run(instance, "-Atc", "select 1", instance_ref="by-name")
    assert result.out == "1\n"
    assert result.events[0]["instance_id"] == instance.instance_id
    assert engine.registry.name("by-name").last_used_at > name.last_used_at
    with pytest.raises(NotFound):
        engine.open(instance, instance_ref=instance.instance_id[:12])


@pytest.mark.parametrize("sql", ["select 1", "temporary tables"])
def test_an_instance_can_be_deleted_as_soon_as_its_run_has_ended(engine, instance, sql):
    if sql == "temporary tables":  # they take their session a while to drop
        sql = (
            "do $$ begin for n in 1..1000 loop"
            " execute format('create temp table t%s (a int primary key)', n);"
            " end loop; end $$"
        )
    assert engine.run(instance, "-c", sql).code == 0
    assert engine.sessions(instance) == []
    assert engine.delete(instance) == "deleted"


def test_a_dead_instance_is_restarted_first(engine, instance):
    postmaster = psutil.Process(engine.cluster(instance).postmaster().pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    postmaster.kill()
    psutil.wait_procs(family, timeout=PATIENCE)
    result = engine.run(instance, "-Atc", "select count(*) from a")
    assert result.out == "3\n"
    assert [event["type"] for event in result.events[:3]] == ["log", "log", "start"]
    assert f"starting it on port {instance.port}" in result.events[0]["message"]
    with psycopg.connect(instance.dsn) as connection:  # the old DSN still holds
        assert connection.execute("SELECT count(*) FROM a").fetchone() == (3,)


# Ends


def is_idle(engine, instance):
    return engine.sessions(instance) == []


@pytest.mark.parametrize(
    ("args", "stdin"),
    [
        (["-c", "select pg_sleep(100)", "-c", "create table never()"], None),
        (["-f", "-"], "select pg_sleep(100);\ncreate table never();\n"),
        (["-f", "-"], "begin;\ncreate table never();\nselect pg_sleep(100);\ncommit;\n"),
        (["-1", "-f", "-"], "create table never();\nselect pg_sleep(100);\n"),
    ],
    ids=["commands", "script", "transaction", "single transaction"],
)
def test_cancelling_ends_the_sql_and_starts_no_more(engine, instance, args, stdin):
    reader = engine.open(instance, *args, stdin=stdin)
    eventually(lambda: any("sleep" in query for _, _, query in engine.sessions(instance)))
    began = time.monotonic()
    reader.run.cancel()
    assert is_idle(engine, instance)
    assert time.monotonic() - began < PATIENCE
    assert engine.query(instance, "SELECT to_regclass('never')") == [(None,)]


def test_cancelling_ends_all_of_pgbench(engine, instance):
    assert engine.run(instance, "-i", "-q", kind="pgbench").code == 0
    reader = engine.open(instance, "-c", "8", "-j", "2", "-T", "100", kind="pgbench")
    eventually(lambda: len(engine.sessions(instance)) == 8)
    reader.run.cancel()
    assert is_idle(engine, instance)


def test_cancelling_ends_a_session_that_took_another_name(engine, instance):
    script = "set application_name = 'incognito';\nselect pg_sleep(100);\n"
    reader = engine.open(instance, "-f", "-", stdin=script)
    eventually(lambda: any("sleep" in query for _, _, query in engine.sessions(instance)))
    began = time.monotonic()
    reader.run.cancel()
    eventually(lambda: is_idle(engine, instance))  # the server has noticed by itself
    assert time.monotonic() - began < PATIENCE


def test_cancelling_ends_the_programs_that_psql_started(engine, shared, tmp_path):
    script = f"\\! echo $$ >{tmp_path}/pid; sleep 100\n"
    reader = engine.open(shared, "-f", "-", stdin=script)
    pid_file = tmp_path / "pid"
    eventually(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"))
    psql = psutil.Process(int(pid_file.read_text())).parent()
    family = [psql, *psql.children(recursive=True)]
    assert len(family) > 1
    reader.run.cancel()
    eventually(lambda: not any(lives(process) for process in family))


def test_a_program_that_psql_left_behind_is_ended_with_its_sql(engine, instance):
    script = "\\! psql -Xc 'select pg_sleep(100)' &\nselect pg_sleep(0.3);\n\\echo done\n"
    result = engine.run(instance, "-Atf", "-", stdin=script)
    assert result.out.endswith("done\n")
    assert result.code == 0
    assert is_idle(engine, instance)


def test_a_run_whose_instance_is_deleted_ends(engine, instance):
    reader = engine.open(instance, "-c", "select pg_sleep(100)")
    eventually(lambda: any("sleep" in query for _, _, query in engine.sessions(instance)))
    engine.instances.removal.remove(instance.instance_id)
    reader.until(lambda: reader.run.finished)
    assert reader.code in (1, 2)
    assert "terminat" in reader.err


def test_a_run_may_drop_the_database_postgres(engine, instance):
    assert engine.run(instance, "template1", "-c", "drop database postgres").code == 0
    result = engine.run(instance, "-c", "select 1")
    assert result.code == 2
    assert "does not exist" in result.err


def test_a_client_that_leaves_ends_the_sql(engine, instance):
    body = json.dumps(
        {
            "instance_ref": instance.instance_id,
            "kind": "psql",
            "args": [],
            "steps": [{"args": ["-f", "-"], "stdin": "select pg_sleep(100);"}],
        }
    ).encode()
    head = (
        "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with serving(app(engine.services)) as address:
        with socket.create_connection(address) as connection:
            connection.sendall(head.encode() + body)
            eventually(lambda: any("sleep" in query for _, _, query in engine.sessions(instance)))
        began = time.monotonic()
        eventually(lambda: is_idle(engine, instance))
        assert time.monotonic() - began < PATIENCE
        eventually(lambda: engine.runs.active() == 0)


def lives(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
