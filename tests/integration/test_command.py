"""Commands on real PostgreSQL: small programs that migrate the database that they are told of."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import psutil
import pytest
from support.fix_store import Store, query
from support.waiting import eventually

from sqlrs_engine.errors import InvalidArgument, ProgramUnavailable
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store import InstanceFilter

pytestmark = pytest.mark.postgres

IMAGE = "postgres:18"

MIGRATE = """
    import os, pathlib, psycopg
    print("app", os.environ.get("APP_ENV"), flush=True)
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for script in sorted(pathlib.Path("migrations").glob("*.sql")):
            print("apply", script, flush=True)
            connection.execute(script.read_text())
"""


class Commands(Store):
    """An engine, and an application with migrations in ``app``."""

    app: Path

    def begin(self, app: Path) -> None:
        """Make a new application, of which no state exists yet."""
        self.app = app
        (app / "migrations").mkdir(parents=True)
        self.write("migrations/1.sql", "CREATE TABLE t (v text); INSERT INTO t VALUES ('one')")
        self.write("migrations/name.txt", str(app))
        self.write("migrate.py", MIGRATE)

    def end(self) -> None:
        """Remove what a test has made."""
        for instance in self.store.instances.find(InstanceFilter()):
            self.engine.instances.removal.remove(instance.instance_id)

    def write(self, path, text):
        place = self.app / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(dedent(text))
        return place

    def script(self, path, text):
        self.write(path, text).chmod(0o755)

    def submit_command(self, *argv, **fields):
        return self.submit_stages(self.stage(*argv, **fields))

    def submit_stages(self, *stages, **fields):
        body = {"prepare_kind": "chain", "image_id": IMAGE, "stages": stages, **fields}
        return self.engine.prepare.submit(PrepareRequest.from_json(body)).job_id

    def stage(self, *argv, **fields):
        return {
            "kind": "command",
            "argv": argv or (sys.executable, "migrate.py"),
            "inputs": ["migrations/**", "migrate.py"],
            "work_dir": str(self.app),
            "base_env": {"PATH": f"{self.bin_dir}:/usr/bin:/bin"},
            **fields,
        }

    def command(self, *argv, **fields):
        return self.wait(self.submit_command(*argv, **fields))

    def made(self, *argv, **fields):
        job = self.command(*argv, **fields)
        assert job.status == "succeeded", job.error
        return job.result

    def error(self, *argv, **fields):
        job = self.command(*argv, **fields)
        assert job.status == "failed", job.result
        return job.error

    def was_cached(self, *argv, **fields):
        """Run a command that must succeed, and return whether its state was there before."""
        job = self.command(*argv, **fields)
        assert job.status == "succeeded", job.error
        return self.cached(job.job_id) == [True]

    def shell(self, text):
        """Write a script that is called ./migrate, and return its command line."""
        self.script("migrate", f"#!/bin/sh\nset -e\n{dedent(text)}")
        return ("./migrate",)

    def changes(self, *argv, **fields):
        """Return what explains that the state of a command is not there."""
        body = {
            "prepare_kind": "chain",
            "image_id": IMAGE,
            "stages": [self.stage(*argv, **fields)],
        }
        decision = self.engine.services.cache.explain(PrepareRequest.from_json(body))
        return [(change["kind"], change["name"]) for change in decision["changes"]]

    def dump(self, dsn):
        """Return what a database contains, without the random key of pg_dump's output."""
        text = subprocess.run(
            [self.bin_dir / "pg_dump", dsn], check=True, capture_output=True, text=True
        ).stdout
        return [line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unre"))]

    @property
    def bin_dir(self):
        return Distributions(self.root / "postgres").resolve(IMAGE).bin_dir


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    commands = Commands(tmp_path_factory.mktemp("commands") / "store", IMAGE)
    yield commands
    commands.close()


@pytest.fixture
def commands(engine, tmp_path):
    engine.begin(tmp_path / "app")
    yield engine
    engine.end()


def test_a_program_makes_a_state_that_is_used_again(commands):
    job = commands.command()
    assert job.status == "succeeded", job.error
    assert query(job.result, "SELECT v FROM t") == "one"
    assert commands.cached(job.job_id) == [False]
    python = Path(sys.executable).name
    logs = commands.logs(job.job_id)
    assert f"{python}: app None" in logs
    assert f"{python}: apply migrations/1.sql" in logs
    assert commands.was_cached()


def test_the_result_is_that_of_the_program_run_by_hand(commands):
    empty = commands.prepare()["dsn"]
    result = commands.made()
    subprocess.run(
        [sys.executable, "migrate.py"],
        cwd=commands.app,
        env={**os.environ, "DATABASE_URL": empty},
        check=True,
    )
    assert commands.dump(result["dsn"]) == commands.dump(empty)


class TestCache:
    """What counts makes another state, and nothing else does."""

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            (
                lambda app: app.write("migrations/1.sql", "CREATE TABLE other ()"),
                ("file", "migrations/1.sql"),
            ),
            (
                lambda app: app.write("migrations/2.sql", "CREATE TABLE more ()"),
                ("file", "migrations/2.sql"),
            ),
            (lambda app: (app.app / "migrations/1.sql").unlink(), ("file", "migrations/1.sql")),
            (
                lambda app: app.write("migrate.py", f"{MIGRATE}    pass"),
                ("file", "migrate.py"),
            ),
        ],
    )
    def test_changes_of_inputs(self, commands, change, named):
        commands.write("migrations/0.sql", "CREATE TABLE first ()")
        commands.made()
        change(commands)
        assert commands.changes() == [named]
        assert not commands.was_cached()
        assert commands.was_cached()

    def test_arguments_variables_and_the_program(self, commands):
        argv = commands.shell("echo $APP_ENV")
        commands.made(*argv)
        for fields, named in (
            ({"argv": [*argv, "up"]}, ("argument", "up")),
            ({"env": {"APP_ENV": "test"}}, ("variable", "APP_ENV")),
        ):
            assert commands.changes(*argv, **fields) == [named]
            assert not commands.was_cached(*argv, **fields)
            assert commands.was_cached(*argv, **fields)
        commands.shell("echo changed")
        assert commands.changes(*argv) == [("tool", "./migrate")]
        assert not commands.was_cached(*argv)

    def test_a_version_in_place_of_the_program(self, commands):
        argv = commands.shell("echo one")
        commands.script("version", "#!/bin/sh\necho 1.0\n")
        fields = {"version_command": ["./version"]}
        commands.made(*argv, **fields)
        commands.shell("echo the same version")
        assert commands.was_cached(*argv, **fields)
        commands.script("version", "#!/bin/sh\necho 1.1\n")
        assert not commands.was_cached(*argv, **fields)
        commands.script("version", "#!/bin/sh\nexit 3\n")
        error = commands.error(*argv, **fields)
        assert (error["code"], error["details"]) == ("step_failed", "./version ended with code 3")

    def test_what_does_not_count(self, commands):
        commands.made()
        commands.write("README.md", "nothing")
        commands.write("migrations/ignored.sql", "CREATE TABLE nothing ()")
        commands.write(".gitignore", "ignored.sql")
        assert commands.was_cached(base_env={"PATH": "/usr/bin:/bin"})

    def test_a_checkout_elsewhere(self, commands, tmp_path):
        commands.made()
        commands.app.rename(tmp_path / "elsewhere")
        assert commands.was_cached(work_dir=str(tmp_path / "elsewhere"))

    def test_a_plan_runs_nothing(self, commands):
        argv = commands.shell("touch ran")
        job = commands.wait(commands.submit_stages(commands.stage(*argv), plan_only=True))
        assert job.status == "succeeded", job.error
        assert commands.cached(job.job_id) == [False]
        assert not (commands.app / "ran").exists()


class TestEnvironment:
    def test_the_program_gets_the_connection_and_what_is_declared(self, commands, monkeypatch):
        monkeypatch.setenv("SECRET_OF_THE_ENGINE", "x")
        argv = commands.shell("env > env.txt; psql -c 'CREATE TABLE t ()' > /dev/null; pwd")
        job = commands.command(
            *argv,
            env={"APP_ENV": "test", "URL": "{DATABASE_URL}"},
            base_env={"PATH": f"{commands.bin_dir}:/usr/bin:/bin", "HOME": "/nowhere"},
        )
        assert job.status == "succeeded", job.error
        assert f"migrate: {commands.app}" in commands.logs(job.job_id)
        lines = (commands.app / "env.txt").read_text().splitlines()
        variables = dict(line.split("=", 1) for line in lines)
        port, password = variables["PGPORT"], variables["PGPASSWORD"]
        assert variables["DATABASE_URL"] == variables["URL"]
        assert variables["URL"] == f"postgresql://sqlrs:{password}@127.0.0.1:{port}/postgres"
        shells_own = {"PWD", "OLDPWD", "_", "SHLVL"}
        assert variables.keys() - shells_own == {
            *("PATH", "HOME", "LANG", "TZ", "APP_ENV", "URL", "SQLRS_WORKSPACE"),
            *("DATABASE_URL", "SQLRS_JDBC_URL"),
            *("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"),
        }

    def test_the_password_is_not_in_the_log(self, commands):
        argv = commands.shell('echo "url $DATABASE_URL"; echo $PGPASSWORD > password; exit 1')
        job = commands.command(*argv)
        password = (commands.app / "password").read_text().strip()
        assert len(password) > 20
        events = commands.engine.prepare.events.read(job.job_id, 0).lines
        assert any(b"url postgresql://sqlrs:***@127.0.0.1" in line for line in events)
        assert not any(password.encode() in line for line in events)
        assert "sqlrs:***@" in job.error["details"]
        assert password not in job.error["details"]

    def test_a_database_of_an_earlier_stage(self, commands):
        argv = commands.shell("psql -c 'CREATE TABLE t AS SELECT 7 AS n'")
        job = commands.wait(
            commands.submit_stages(
                {"kind": "psql", "psql_args": ["-c", "CREATE DATABASE app"]},
                commands.stage(*argv, env={"PGDATABASE": "app"}),
                {"kind": "psql", "psql_args": ["-c", "\\connect app", "-c", "SELECT 1"]},
            )
        )
        assert job.status == "succeeded", job.error
        assert query(job.result, "SELECT n FROM t", dbname="app") == 7

    def test_standard_input_is_empty_and_there_is_no_terminal(self, commands):
        argv = commands.shell(
            """
            cat
            for descriptor in 0 1 2; do test ! -t $descriptor; done
            if cat < /dev/tty 2> /dev/null; then exit 9; fi
            echo done
            """
        )
        job = commands.command(*argv)
        assert job.status == "succeeded", job.error
        assert "migrate: done" in commands.logs(job.job_id)

    def test_a_program_that_goes_elsewhere_gets_a_warning(self, commands):
        warning = "warning: migrate did not connect to its database"
        job = commands.command(*commands.shell("echo done"))
        assert any(line.startswith(warning) for line in commands.logs(job.job_id))
        job = commands.command(*commands.shell("psql -c 'SELECT 1'"))
        assert job.status == "succeeded", job.error
        assert not any(line.startswith(warning) for line in commands.logs(job.job_id))


class TestOutput:
    def test_bytes_that_are_not_utf_8_are_replaced(self, commands):
        argv = commands.shell(r"printf 'caf\351\n'")
        job = commands.command(*argv)
        assert "migrate: caf\N{REPLACEMENT CHARACTER}" in commands.logs(job.job_id)

    @pytest.mark.slow
    def test_a_lot_of_it(self, commands):
        argv = commands.shell("head -c 75000000 /dev/zero | base64 -w 1000")
        job = commands.command(*argv)
        assert job.status == "succeeded", job.error

    def test_an_endless_line(self, commands):
        argv = commands.shell("head -c 5000000 /dev/zero | tr '\\0' x")
        job = commands.command(*argv)
        assert job.status == "succeeded", job.error
        printed = [line for line in commands.logs(job.job_id) if line.startswith("migrate: xx")]
        assert sum(len(line.removeprefix("migrate: ")) for line in printed) == 5_000_000


class TestFailures:
    def test_the_code_and_the_last_lines_are_in_the_error(self, commands):
        argv = commands.shell("echo first; echo 'relation \"x\" missing' >&2; exit 3")
        assert commands.error(*argv) == {
            "code": "step_failed",
            "message": "the command failed: correct what its last lines name",
            "details": './migrate ended with code 3\nfirst\nrelation "x" missing',
        }
        commands.shell("exit 0")
        assert not commands.was_cached(*argv)

    def test_the_last_error_of_the_server_is_told_if_the_program_does_not_tell_it(self, commands):
        drop = "psql -v ON_ERROR_STOP=1 -c 'DROP TABLE first' -c 'DROP TABLE x'"
        argv = commands.shell(f"echo failed; {drop} 2> /dev/null || exit 4")
        assert commands.error(*argv)["details"] == (
            "./migrate ended with code 4\nfailed\n"
            'the server\'s last error:\nERROR:  table "first" does not exist'
        )
        argv = commands.shell(f"{drop} || exit 4")
        assert "the server's last error" not in commands.error(*argv)["details"]

    def test_a_signal_is_named(self, commands):
        argv = commands.shell("kill -KILL $$")
        assert commands.error(*argv)["details"] == "./migrate was ended by SIGKILL"

    def test_what_the_program_did_before_is_not_kept(self, commands):
        argv = commands.shell("psql -c 'CREATE TABLE t ()'; exit 1")
        commands.error(*argv)
        commands.shell("psql -c 'CREATE TABLE t ()'")
        assert not commands.was_cached(*argv)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [("echo no interpreter\n", "#!/bin/sh"), ("#!/no/such/program\n", "the interpreter")],
    )
    def test_a_program_that_cannot_be_run(self, commands, text, reason):
        commands.script("broken", text)
        error = commands.error("./broken")
        assert error["code"] == "program_unavailable"
        assert reason in error["details"]

    def test_mistakes_are_refused_at_once(self, commands):
        with pytest.raises(ProgramUnavailable):
            commands.submit_command("no-such-program")
        for pattern in ("../x", "/etc/passwd", "nothing/*.sql"):
            with pytest.raises(InvalidArgument, match="an input pattern"):
                commands.submit_command(inputs=[pattern])
        with pytest.raises(InvalidArgument, match="needs inputs"):
            commands.submit_command(inputs=None)
        with pytest.raises(InvalidArgument, match="env cannot set"):
            commands.submit_command(env={"PGPORT": "1"})
        with pytest.raises(InvalidArgument, match="work_dir is not a directory"):
            commands.submit_command(work_dir=str(commands.app / "nowhere"))

    def test_a_server_that_is_not_there_any_more(self, commands):
        argv = commands.shell('psql -c "SELECT pg_terminate_backend(pg_backend_pid())"')
        assert "ended with code 2" in commands.error(*argv)["details"]


class TestInputsThatChange:
    @pytest.mark.parametrize("path", ["migrations/1.sql", "migrations/new.sql", "migrate"])
    def test_a_change_is_a_conflict_and_nothing_is_cached(self, commands, path):
        argv = commands.shell(f"echo '# change' >> {path}")
        error = commands.error(*argv)
        assert error["code"] == "conflict"
        assert "leave it out of the inputs" in error["message"]
        assert error["details"] == str(commands.app / path)
        commands.shell("exit 0")
        assert not commands.was_cached(*argv)

    def test_an_input_may_be_written_as_it_was(self, commands):
        argv = commands.shell("cp migrations/1.sql x; cat x > migrations/1.sql; touch migrate")
        commands.made(*argv)

    def test_a_file_that_the_program_writes_can_be_left_out(self, commands):
        argv = commands.shell("date +%N > migrations/schema.rb")
        inputs = ["migrations/**", "!migrations/schema.rb"]
        commands.made(*argv, inputs=inputs)
        assert commands.was_cached(*argv, inputs=inputs)


DAEMON = """
    import os, psycopg
    keep = psycopg.connect(os.environ["DATABASE_URL"])
    keep.execute("CREATE TABLE done (n int)")
    keep.commit()
    reader, writer = os.pipe()
    if os.fork():
        os.read(reader, 1)
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    connection = psycopg.connect(os.environ["DATABASE_URL"])
    connection.execute("INSERT INTO done VALUES (1)")  # and never commits
    with open("pid", "w") as file:
        file.write(str(os.getpid()))
    os.write(writer, b"x")
    # The server does not notice that its client has gone.
    connection.execute("SELECT pg_sleep(1000)")
"""


class TestTheEnd:
    """When a step is over, nothing of its program is left."""

    def test_daemons_and_their_transactions_end_before_the_snapshot(self, commands):
        commands.write("daemon.py", DAEMON)
        result = commands.made(sys.executable, "daemon.py")
        assert (commands.app / "pid").exists()
        assert not running(commands.app / "pid")
        assert query(result, "SELECT count(*) FROM done") == 0

    def test_connections_end_before_the_next_step(self, commands):
        commands.write("daemon.py", DAEMON)
        job = commands.wait(
            commands.submit_stages(
                commands.stage(sys.executable, "daemon.py"),
                {"kind": "psql", "psql_args": ["-c", "ALTER TABLE done ADD COLUMN m int"]},
            )
        )
        assert job.status == "succeeded", job.error

    def test_processes_in_the_background_end_with_the_program(self, commands):
        argv = commands.shell("sleep 1000 & echo $! > pid; exec psql -c 'CREATE TABLE t ()'")
        commands.made(*argv)
        assert not running(commands.app / "pid")

    def test_a_cancelled_job_ends_all(self, commands):
        argv = commands.shell(
            """
            trap '' INT TERM
            sleep 1000 & echo $! > pid
            setsid sleep 1000 & echo $! > daemon
            psql -c 'SELECT pg_sleep(1000)'
            """
        )
        job_id = commands.submit_command(*argv)
        eventually(lambda: running(commands.app / "daemon"), "the daemon")
        commands.engine.prepare.cancel(job_id)
        job = commands.wait(job_id)
        assert job.error["code"] == "cancelled"
        assert not running(commands.app / "pid")
        assert not running(commands.app / "daemon")
        eventually(lambda: commands.workspaces() == [], "no workspaces")


def running(pid_file):
    """Return whether the process of a file runs."""
    text = pid_file.read_text() if pid_file.exists() else ""
    try:
        return bool(text) and psutil.Process(int(text)).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_two_jobs_build_a_state_once(commands):
    argv = commands.shell("echo run >> runs; while [ ! -e go ]; do sleep 0.05; done")
    first = commands.submit_command(*argv)
    eventually(lambda: (commands.app / "runs").exists(), "the first run")
    second = commands.submit_command(*argv)
    eventually(lambda: any("waiting for" in line for line in commands.logs(second)), "the wait")
    (commands.app / "go").touch()
    assert {commands.wait(job_id).status for job_id in (first, second)} == {"succeeded"}
    assert (commands.app / "runs").read_text() == "run\n"


def test_a_chain_of_commands_and_scripts(commands):
    commands.write("seed.sql", "INSERT INTO t VALUES ('two')")
    argv = commands.shell("psql -c \"INSERT INTO t VALUES ('three')\"")
    stages = [
        commands.stage(),
        {"kind": "psql", "psql_args": ["-f", str(commands.app / "seed.sql")]},
        commands.stage(*argv, inputs=[]),
    ]
    job = commands.wait(commands.submit_stages(*stages))
    assert job.status == "succeeded", job.error
    assert query(job.result, "SELECT string_agg(v, ' ') FROM t") == "one two three"
    commands.write("seed.sql", "INSERT INTO t VALUES ('2')")
    job = commands.wait(commands.submit_stages(*stages))
    assert commands.cached(job.job_id) == [True, False, False]
    assert query(job.result, "SELECT string_agg(v, ' ') FROM t") == "one 2 three"
