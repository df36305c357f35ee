"""``import`` of live databases, and dumps that are uploaded, against real servers and engines."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from support.fix_engine import EngineProcess, environment
from support.fix_postgres import MakeCluster
from support.shell import Shell
from support.typing_at_terminals import answered
from support.waiting import eventually

from sqlrs_engine.postgres.distributions.distribution import Distribution

pytestmark = pytest.mark.postgres

PASSWORD = "c0rrect-h0rse/b@ttery"
IN_URL = "c0rrect-h0rse%2Fb%40ttery"
ROWS = 20_000


class Live:
    """A live database ``shop`` on a server that asks for passwords."""

    def __init__(self, port: int) -> None:
        self.port = port
        with self.connect("postgres") as connection:
            connection.execute("CREATE DATABASE shop")
            connection.execute(f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}'")
        self.run(
            "CREATE SCHEMA audit",
            "CREATE TABLE item AS SELECT i, md5(i::text) AS name"
            f" FROM generate_series(1, {ROWS}) AS i",
            "ALTER TABLE item ADD PRIMARY KEY (i), OWNER TO app",
            "CREATE TABLE audit.entry AS SELECT i FROM generate_series(1, 1000) AS i",
            "CREATE TABLE gate (i int) PARTITION BY LIST (i)",
        )

    def connect(self, database: str = "shop") -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            make_conninfo(
                host="127.0.0.1",
                port=self.port,
                user="sqlrs",
                password=PASSWORD,
                dbname=database,
            ),
            autocommit=True,
        )

    def run(self, *statements: str) -> None:
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def url(self, user: str = "sqlrs", password: str = "") -> str:
        return f"postgres://{user}{password}@127.0.0.1:{self.port}/shop"

    def dumping(self) -> int:
        with self.connect() as connection:
            found = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'"
            ).fetchone()
            assert found is not None
            return int(str(found[0]))

    @contextlib.contextmanager
    def gate_closed(self) -> Iterator[None]:
        """Keep pg_dump waiting for a lock after its start, without any table being too large."""
        with self.connect() as connection, connection.transaction():
            connection.execute("LOCK TABLE gate IN ACCESS EXCLUSIVE MODE")
            yield


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


MakeLive = Callable[[Distribution], Live]


@pytest.fixture
def make_live(make_cluster: MakeCluster) -> MakeLive:
    def make(distribution: Distribution) -> Live:
        cluster, port = make_cluster(distribution), free_port()
        cluster.start(port=port)
        cluster.set_password(port, PASSWORD)
        return Live(port)

    return make


@pytest.fixture
def live(make_live: MakeLive, wheel_postgres: Distribution) -> Live:
    return make_live(wheel_postgres)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, PGPASSWORD=PASSWORD)
    yield shell
    shell.close()


def rows(dsn: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(dsn.strip()) as connection:
        return connection.execute(sql).fetchall()


def start(shell: Shell, *args: str, **extra: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        shell.command("import", *args),
        env=environment(shell.home, **{**shell.environ, **extra}),
        cwd=shell.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def arguments_of_processes() -> bytes:
    found = b""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found += (process / "cmdline").read_bytes() + b"\n"
    return found


def environment_of_engine(shell: Shell) -> str:
    pid = json.loads((shell.state_dir / "engine.json").read_text())["pid"]
    return Path(f"/proc/{pid}/environ").read_text()


def kept_files(shell: Shell) -> list[Path]:
    return [path for path in (shell.state_dir / "store" / "dumps").rglob("*") if path.is_file()]


def test_a_live_database_becomes_a_state_with_a_name(
    shell: Shell, make_live: MakeLive, distribution: Distribution
) -> None:
    live = make_live(distribution)
    ended = shell.run("import", live.url(), "--name", "prod")
    assert ended.returncode == 0, ended.stderr
    assert f"importing shop on 127.0.0.1, PostgreSQL {distribution.version}" in ended.stderr
    dsn = ended.stdout
    assert rows(dsn, "SELECT count(*), min(name) FROM item")[0][0] == ROWS
    assert rows(dsn, "SELECT tableowner FROM pg_tables WHERE tablename = 'item'") == [("app",)]
    assert rows(dsn, "SHOW server_version_num")[0][0][:2] == str(distribution.major)
    [name] = shell.json("ls", "names")
    assert name["name"] == "prod"
    [dump] = shell.json("ls", "dumps")
    assert re.fullmatch(
        r"snapshot of shop on 127\.0\.0\.1, \d{4}-\d\d-\d\d \d\d:\d\d UTC", dump["label"]
    )
    assert dump["dump_id"][:12] in shell.out("ls")
    assert {path.name for path in kept_files(shell)} == {"dump", "about.json"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in kept_files(shell))
    again = shell.out(
        "prepare", "--image", f"postgres:{distribution.major}", "--dump", dump["dump_id"]
    )
    assert rows(again, "SELECT count(*) FROM audit.entry") == [(1000,)]
    [state] = [each for each in shell.json("ls", "states") if each["prepare_kind"] == "dump"]
    assert state["refcount"] == 2
    assert "dump" in shell.out("rm", dump["dump_id"][:10])
    assert kept_files(shell) == []
    image = f"postgres:{distribution.major}"
    again = shell.out("prepare", "--image", image, "--dump", dump["dump_id"])
    assert rows(again, "SELECT count(*) FROM audit.entry") == [(1000,)]  # the state is cached
    gone = shell.run("prepare", "--image", image, "--dump", dump["dump_id"], "--", "-O")
    assert gone.returncode == 1
    assert "the dump is not in the state store: import the database again" in gone.stderr


def test_parts_of_a_database(shell: Shell, live: Live) -> None:
    imported = json.loads(
        shell.out(
            "import", live.url(), "--json", "--exclude-table-data", "audit.*", "--exclude-table",
            "gate", "--ttl", "1h", "--no-create-roles",
        )
    )  # fmt: skip
    assert imported["dump"]["label"].endswith(
        "UTC, without tables gate, without the data of audit.*"
    )
    dsn = imported["dsn"]
    assert rows(dsn, "SELECT count(*) FROM audit.entry") == [(0,)]
    assert rows(dsn, "SELECT count(*) FROM item") == [(ROWS,)]
    assert rows(dsn, "SELECT to_regclass('gate')") == [(None,)]
    assert rows(dsn, "SELECT count(*) FROM pg_roles WHERE rolname = 'app'") == [(0,)]
    dsn = shell.out(
        "import", f"host=127.0.0.1 port={live.port} user=sqlrs dbname=shop", "--schema-only"
    )
    assert rows(dsn, "SELECT count(*) FROM item") == [(0,)]
    dsn = shell.out("import", live.url(), "--schema", "audit", "--exclude-table", "nothing")
    assert rows(dsn, "SELECT schemaname || '.' || tablename FROM pg_tables"
                " WHERE schemaname IN ('public', 'audit')") == [("audit.entry",)]  # fmt: skip
    dsn = shell.out("import", live.url(), "--table", "item")
    assert rows(dsn, "SELECT to_regclass('item')::text, to_regclass('audit.entry')") == [
        ("item", None)
    ]
    unmatched = shell.run("import", live.url(), "--table", "itme")
    assert unmatched.returncode == 1
    assert "a pattern matches nothing: check --table and --schema" in unmatched.stderr


def test_a_service_and_the_password_file(shell: Shell, live: Live) -> None:
    shell.environ.pop("PGPASSWORD")
    services = shell.home / "services.conf"
    services.write_text(f"[shop]\nhost=127.0.0.1\nport={live.port}\nuser=sqlrs\ndbname=shop\n")
    passwords = shell.home / ".pgpass"
    passwords.write_text(f"127.0.0.1:{live.port}:*:sqlrs:{PASSWORD}\n")
    passwords.chmod(0o600)
    shell.environ["PGSERVICEFILE"] = str(services)
    assert shell.out("import", "service=shop", "--schema-only")
    shell.environ["PGSERVICE"] = "shop"
    assert shell.out("import", "--schema-only")
    del shell.environ["PGSERVICE"]
    shell.environ |= {"PGHOST": "127.0.0.1", "PGPORT": str(live.port), "PGUSER": "sqlrs"}
    assert shell.out("import", "shop", "--schema-only")


@pytest.mark.parametrize("in_url", [True, False])
def test_the_password_is_in_no_argument_and_in_no_file(
    shell: Shell, live: Live, in_url: bool
) -> None:
    if in_url:
        shell.environ.pop("PGPASSWORD")
    url = live.url(password=f":{IN_URL}" if in_url else "")
    with live.gate_closed():
        process = start(shell, url, "--name", "prod")
        eventually(lambda: live.dumping() == 1, "pg_dump")
        seen = arguments_of_processes()
        assert b"pg_dump" in seen
        assert b"--format=custom" in seen
        assert PASSWORD not in environment_of_engine(shell)
        for secret in (PASSWORD, IN_URL):
            assert secret.encode() not in seen
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rows(output, "SELECT count(*) FROM item") == [(ROWS,)]
    shell.run("stop")
    for path in shell.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert PASSWORD.encode() not in content, path
            assert IN_URL.encode() not in content, path
    assert PASSWORD not in output + errors


def test_an_image_that_cannot_be_had_is_reported_before_the_dump(shell: Shell, live: Live) -> None:
    shell.out("prepare", "--", "-c", "select 1")
    shell.out("config", "set", "images.pull", "never")
    refused = shell.run("import", live.url(), "--image", "postgis/postgis:17-3.5")
    assert refused.returncode == 1
    assert "postgis/postgis:17-3.5 is not on this machine" in refused.stderr
    assert "importing" not in refused.stderr
    assert shell.json("ls", "dumps") == []


def test_a_restore_that_fails_keeps_the_dump(shell: Shell, live: Live) -> None:
    live.run(
        "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE broken (i int CHECK (i = one()))",
        "INSERT INTO broken VALUES (1)",
        "CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 2'",
    )
    failed = shell.run("import", live.url())
    assert failed.returncode == 1
    assert 'violates check constraint "broken_i_check"' in failed.stderr
    advice = re.search(r"sqlrs-engine (prepare --dump [0-9a-f]{64} --image \S+)", failed.stderr)
    assert advice is not None, failed.stderr
    again = shell.run(*advice[1].split(), "--", "--exclude-schema=audit", "--section=pre-data")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_import_leaves_nothing(
    shell: Shell, live: Live, number: signal.Signals
) -> None:
    shell.run("prepare", "--", "-c", "select 1")
    with live.gate_closed():
        process = start(shell, live.url())
        eventually(lambda: live.dumping() == 1, "pg_dump")
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        if number == signal.SIGINT:
            assert process.returncode == 130, errors
            assert live.dumping() == 0
    eventually(lambda: live.dumping() == 0, "the end of pg_dump")
    eventually(lambda: kept_files(shell) == [], "the end of the upload")
    assert shell.json("ls", "dumps") == []


def test_failures_to_connect_come_with_advice(shell: Shell, live: Live) -> None:
    def error(url: str, **environ: str) -> str:
        shell.environ.update(environ)
        ended = shell.run("import", url)
        assert ended.returncode == 1
        assert ended.stdout == ""
        return ended.stderr

    assert "cannot connect to the database" in error(f"postgres://127.0.0.1:{free_port()}/shop")
    assert 'database "none" does not exist' in error(live.url().replace("shop", "none"))
    wrong = error(live.url(), PGPASSWORD="wrong-secret")
    assert "check the user and the password" in wrong
    assert "wrong-secret" not in wrong
    shell.environ.pop("PGPASSWORD")
    assert "set PGPASSWORD, or add a line to ~/.pgpass" in error(live.url())
    for url in ("postgres://a:b@c@d/e", "postgres://a:s3cret@[x/e", "host=a s3cret"):
        ended = shell.run("import", url)
        assert (ended.returncode, "s3cret" in ended.stderr) == (2, False), ended.stderr
    (shell.home / "prod.dump").touch()
    assert "prepare --dump" in shell.run("import", "prod.dump").stderr


def test_a_missing_password_is_asked_for_at_a_terminal(shell: Shell, live: Live) -> None:
    shell.environ.pop("PGPASSWORD")
    code, output, shown = answered(
        shell.command("import", live.url(), "--schema-only"),
        environment(shell.home),
        shell.home,
        "Password of the live database: ",
        f"{PASSWORD}\n",
    )
    assert code == 0, shown
    assert output.startswith("postgres://")
    assert PASSWORD not in output + shown


def test_what_may_not_be_read_is_named_with_a_way_out(shell: Shell, live: Live) -> None:
    live.run(
        "CREATE TABLE secret (a int)",
        'CREATE TABLE "Odd name" (a int)',
        "GRANT SELECT ON item, gate TO app",
        "GRANT USAGE ON SCHEMA audit TO app",
        "CREATE TABLE private (a int)",
        "ALTER TABLE private ENABLE ROW LEVEL SECURITY",
        "GRANT SELECT ON private TO app",
    )
    url, left_out = live.url("app"), ["--exclude-schema=audit"]
    denied = shell.run("import", url, *left_out)
    assert denied.returncode == 1
    assert "may not be read: leave it out (--exclude-table=" in denied.stderr
    assert "pg_read_all_data" in denied.stderr
    left_out += ["--exclude-table=secret", '--exclude-table="Odd name"']
    hidden = shell.run("import", url, *left_out)
    assert "policies hide rows of table private" in hidden.stderr
    assert "--exclude-table-data=private" in hidden.stderr
    assert kept_files(shell) == []
    dsn = shell.out("import", url, *left_out, "--exclude-table-data=private")
    assert rows(dsn, "SELECT count(*) FROM item") == [(ROWS,)]


def test_a_database_that_is_too_large_is_refused_before_it_is_read(
    shell: Shell, live: Live
) -> None:
    shell.out("prepare", "--", "-c", "select 1")
    shell.out("config", "set", "cache.capacity.maxBytes", str(40 * 1024**2))
    live.run(
        "CREATE TABLE blob AS SELECT repeat(md5(i::text), 50) FROM generate_series(1, 20000) i"
    )
    live.run("ALTER TABLE blob ALTER repeat SET STORAGE EXTERNAL")
    refused = shell.run("import", live.url())
    assert refused.returncode == 1
    for words in ("too large", "--schema-only", "--exclude-table-data", "maxBytes", "public.blob"):
        assert words in refused.stderr
    assert re.search(r"about \d+\.\d MiB; .* room for \d+\.\d MiB", refused.stderr)
    shell.out("config", "set", "cache.capacity.maxBytes", str(100 * 1024))
    forced = shell.run("import", live.url(), "--force")
    assert forced.returncode == 1
    assert "the dump does not fit into the cache" in forced.stderr
    assert kept_files(shell) == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_an_encrypted_connection_stays_encrypted(
    shell: Shell, make_cluster: MakeCluster, system_postgres: Distribution
) -> None:
    """The pg_dump of some builds cannot encrypt, and would do without."""
    cluster, port = make_cluster(system_postgres), free_port()
    key, certificate = (cluster.data_dir / name for name in ("server.key", "server.crt"))
    subprocess.run(
        ["openssl", "req", "-new", "-x509", "-nodes", "-subj", "/CN=live", "-days", "2"]  # noqa: RUF005
        + ["-out", str(certificate), "-keyout", str(key)],
        check=True,
        capture_output=True,
    )
    owner = cluster.data_dir.stat()
    for path in (key, certificate):
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)
    cluster.start(port=port, settings={"ssl": True})
    cluster.set_password(port, PASSWORD)
    live = Live(port)
    with (cluster.data_dir / "pg_hba.conf").open("r+") as file:
        rules = re.sub(r"^host\b", "hostssl", file.read(), flags=re.MULTILINE)
        file.seek(0)
        file.write(rules)
    live.run("SELECT pg_reload_conf()")
    assert shell.out("import", live.url(), "--schema-only")
    assert shell.out("import", f"{live.url()}?sslmode=require", "--schema-only")


def upload(engine: EngineProcess, size: int) -> socket.socket:
    """Send a part of a dump, and return the connection."""
    host, port = engine.base_url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(
        f"POST /v1/dumps HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {engine.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        f"{size:x}\r\n".encode()
        + b"x" * size
        + b"\r\n"
    )
    return connection


def files_of_dumps(engine: EngineProcess) -> list[Path]:
    return [path for path in (engine.store / "dumps").rglob("*") if path.is_file()]


def test_an_upload_that_breaks_off_leaves_nothing(engine: EngineProcess) -> None:
    with upload(engine, 3_000_000):
        eventually(lambda: files_of_dumps(engine), "the upload")
        status = engine.call("GET", "/v1/cache/status").json()
        assert (status["dump_count"], status["dump_bytes"] > 0) == (0, True)
    eventually(lambda: not files_of_dumps(engine), "the end of the upload")
    assert engine.call("GET", "/v1/dumps").json() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_an_engine_that_ends_during_an_upload_leaves_is_swept(
    engine: EngineProcess, number: signal.Signals
) -> None:
    kept = engine.call("POST", "/v1/dumps", content=b"a dump").json()
    with upload(engine, 3_000_000):
        eventually(lambda: len(files_of_dumps(engine)) == 3, "the upload")
        assert engine.stop(number) == (0 if number == signal.SIGTERM else -number)
    assert len(files_of_dumps(engine)) == (2 if number == signal.SIGTERM else 3)
    engine.start()
    eventually(lambda: len(files_of_dumps(engine)) == 2, "the sweep")
    assert engine.call("GET", "/v1/dumps").json() == [kept]
    assert engine.call("GET", "/v1/cache/status").json()["dump_bytes"] == 6


def test_dumps_make_room_for_states(engine: EngineProcess) -> None:
    def status() -> dict[str, int]:
        answer: dict[str, int] = engine.call("GET", "/v1/cache/status").json()
        return answer

    def configure(**settings: object) -> None:
        for name, value in settings.items():
            body = {"path": f"cache.capacity.{name}", "value": value}
            assert engine.call("PATCH", "/v1/config", json=body).status_code == 200

    engine.prepare("-c", "create table t as select 1 as n")
    usage = status()["usage_bytes"]
    configure(minStateAge="0s", reserveBytes=0, maxBytes=int(2.6 * usage))
    uploaded = engine.call("POST", "/v1/dumps", content=b"x" * (usage // 2))
    assert uploaded.status_code == 201
    before = status()
    assert before["usage_bytes"] == usage + usage // 2
    assert before["dump_bytes"] == before["reclaimable_bytes"] == usage // 2
    engine.prepare("-c", "create table t as select 2 as n")
    assert engine.call("GET", "/v1/dumps").json() == []
    after = status()
    assert (after["dump_count"], after["state_count"]) == (0, 2)
    assert "sqlrs_evictions_total 1.0" in engine.call("GET", "/metrics").text


def test_a_dump_that_a_job_restores_stays(engine: EngineProcess) -> None:
    script = (
        b"--\n-- PostgreSQL database dump\n--\n\nSELECT pg_sleep(100);\n\n"
        b"--\n-- PostgreSQL database dump complete\n--\n"
    )
    dump_id = engine.call("POST", "/v1/dumps", content=script).json()["dump_id"]
    body = {
        "prepare_kind": "chain",
        "image_id": "postgres:18",
        "stages": [{"kind": "dump", "dump_id": dump_id}],
    }
    job = engine.call("POST", "/v1/prepare-jobs", json=body).json()["job_id"]
    refused = engine.call("DELETE", f"/v1/dumps/{dump_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert job in refused.json()["details"]
    engine.call("POST", f"/v1/prepare-jobs/{job}/cancel")
    eventually(lambda: engine.call("DELETE", f"/v1/dumps/{dump_id}").status_code == 200)
    job = engine.call("POST", "/v1/prepare-jobs", json=body).json()["job_id"]
    engine.events(job)
    failed = engine.call("GET", f"/v1/prepare-jobs/{job}").json()
    assert failed["error"]["code"] == "dump_missing"
