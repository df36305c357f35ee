"""Restores of real dumps, by the parts of an engine as the engine puts them together."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from support import real_dumps
from support.fix_postgres import clusters
from support.fix_store import Store, query
from support.waiting import eventually

from sqlrs_engine.errors import DumpUnusable, InvalidArgument

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(400)]

IMAGE = "postgres:18"


@pytest.fixture(scope="module")
def source(wheel_postgres, initialised, os_user, public_root):
    """A server with the database to dump."""
    with clusters(initialised, os_user, public_root) as make:
        cluster = make(wheel_postgres)
        cluster.start(port=None)
        real_dumps.make_database(cluster)
        yield cluster


@pytest.fixture(scope="module")
def dumps(source, tmp_path_factory):
    """The dumps of the database in all formats."""
    place = tmp_path_factory.mktemp("dumps")
    formats = {
        "custom": ["-Fc"],
        "uncompressed": ["-Fc", "-Z0"],
        "directory": ["-Fd"],
        "tar": ["-Ft"],
        "sql": [],
    }
    for name, arguments in formats.items():
        real_dumps.run(source, "pg_dump", *arguments, "-f", str(place / name))
    for suffix, compress in real_dumps.compressors().items():
        (place / f"sql{suffix}").write_bytes(compress((place / "sql").read_bytes()))
    # Without places of its data, as it cannot go back to write them.
    (place / "piped").write_bytes(real_dumps.run(source, "pg_dump", "-Fc"))
    return place


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), IMAGE)
    store.patience = 300.0
    store.without_pool()
    yield store
    store.close()


@pytest.fixture
def empty(make_cluster, wheel_postgres):
    """A running server with an empty cluster."""
    cluster = make_cluster(wheel_postgres)
    cluster.start(port=None)
    return cluster


def dump(path, *arguments, **fields):
    return {"kind": "dump", "path": str(path), "restore_args": list(arguments), **fields}


def psql(*args):
    return {"kind": "psql", "psql_args": list(args)}


def failure(store, *stages):
    job = store.wait(store.submit_chain(*stages))
    assert job.status == "failed", job.result
    return job.error


@pytest.mark.parametrize(
    "name",
    ["custom", "uncompressed", "piped", "directory", "tar", "sql", "sql.gz", "sql.zst", "sql.lz4"],
)
def test_the_result_is_that_of_a_restore_by_hand(store, dumps, empty, source, name):
    result = store.chain(dump(dumps / name))
    bin_dir = source.distribution.bin_dir
    assert real_dumps.dumped(result, bin_dir) == real_dumps.restored_by_hand(empty, dumps / name)
    assert real_dumps.roles(result) == set(real_dumps.ROLES)
    assert query(result, "select convert_from(lo_get(4242), 'UTF8')") == "a large object"


def test_options_do_what_they_do_by_hand(store, dumps, empty, source):
    options = ("--no-owner", "-x", "--exclude-schema=none", "--no-comments")
    result = store.chain(dump(dumps / "custom", *options))
    by_hand = real_dumps.restored_by_hand(empty, dumps / "custom", *options)
    assert real_dumps.dumped(result, source.distribution.bin_dir) == by_hand
    assert real_dumps.roles(result) == {"clerk"}  # that of the policy


def test_a_selection_of_objects(store, dumps):
    schema = psql("-c", "create schema app")
    result = store.chain(schema, dump(dumps / "directory", "-O", "-napp", "-t", "sale"))
    assert query(result, "select count(*) from app.sale") == 100
    assert query(result, "select to_regclass('app.item')") is None
    result = store.chain(dump(dumps / "tar", "--section=pre-data", "-1"))
    assert query(result, "select count(*) from app.item") == 0


def test_a_dump_with_create_makes_its_database(store, dumps):
    result = store.chain(dump(dumps / "custom", "--create"))
    assert query(result, "select count(*) from app.sale", dbname=real_dumps.DATABASE) == 100


@pytest.mark.parametrize("arguments", [(), ("--clean", "--if-exists")])
def test_a_whole_cluster_is_restored(store, source, tmp_path, arguments):
    with source.connect(None) as connection:
        connection.execute("GRANT staff TO clerk; ALTER ROLE boss LOGIN CREATEDB")
    path = tmp_path / "all.sql"
    real_dumps.run(source, "pg_dumpall", *arguments, "-f", str(path))
    result = store.chain(dump(path))
    bin_dir = source.distribution.bin_dir
    by_hand = real_dumps.content(real_dumps.run(source, "pg_dump"))
    assert real_dumps.dumped(result, bin_dir, real_dumps.DATABASE) == by_hand
    assert query(result, "select rolcreatedb and rolcanlogin from pg_roles where rolname = 'boss'")
    assert query(result, "select pg_has_role('clerk', 'staff', 'member')")


def test_an_older_server_gets_what_it_knows(store, dumps, make_cluster, system_postgres, source):
    if not system_postgres.major < 17:
        pytest.skip("the system's PostgreSQL knows transaction_timeout")
    image = f"postgres:{system_postgres.major}"
    result = store.chain(dump(dumps / "custom"), image_id=image)
    cluster = make_cluster(system_postgres)
    cluster.start(port=None)
    script = (dumps / "sql").read_text().replace("SET transaction_timeout = 0;", "")
    (dumps / "older.sql").write_text(script)
    by_hand = real_dumps.restored_by_hand(cluster, dumps / "older.sql")
    assert real_dumps.dumped(result, system_postgres.bin_dir) == by_hand
    result = store.chain(dump(dumps / "sql.gz"), image_id=image)
    assert real_dumps.dumped(result, system_postgres.bin_dir) == by_hand


def test_every_input_counts_and_nothing_else(store, dumps, tmp_path, source):
    first = tmp_path / "one.dump"
    shutil.copy(dumps / "custom", first)
    state = store.chain(dump(first, "-O", "-x"))["state_id"]

    def decision(*arguments, path=first, **fields):
        return store.explain(dump(path, *arguments, **fields), image_id=IMAGE)

    assert decision("--no-privileges", "--no-owner", "-j7")["matched_state_id"] == state
    os.utime(first)
    assert decision("-Ox")["matched_state_id"] == state
    moved = first.rename(tmp_path / "moved.dump")
    assert decision("-Ox", path=moved)["matched_state_id"] == state
    changes = decision("-O", path=moved)["changes"]
    assert changes == [{"kind": "argument", "name": "--no-privileges", "step": 0}]
    changes = decision("-Ox", path=moved, create_roles=False)["changes"]
    assert changes == [{"kind": "argument", "name": "create_roles", "step": 0}]
    real_dumps.run(source, "pg_dump", "-Fc", "-f", str(first))
    changes = decision("-Ox")["changes"]
    assert changes == [{"kind": "file", "name": str(first), "step": 0}]


def test_a_failing_restore_names_the_object_and_caches_nothing(store, dumps):
    first = psql("-c", "create schema app; create table app.sale (n int)")
    store.chain(first)
    before = store.states()
    for path, shown in (("custom", "SCHEMA app"), ("tar", "SCHEMA app"), ("sql", "SCHEMA app")):
        error = failure(store, first, dump(dumps / path))
        assert error["code"] == "step_failed"
        assert error["details"].startswith(shown)
        assert 'ERROR:  schema "app" already exists' in error["details"]
    assert store.states() == before
    assert store.workspaces() == []


def test_roles_are_not_created_unless_wanted(store, dumps):
    for path in ("custom", "sql"):
        error = failure(store, dump(dumps / path, create_roles=False))
        assert 'role "boss" does not exist' in error["details"]
        assert "create_roles: true" in error["details"]
    roles = psql("-c", "; ".join(f'create role "{each}" login' for each in real_dumps.ROLES))
    result = store.chain(roles, dump(dumps / "custom", create_roles=False))
    assert real_dumps.roles(result) == set()


def test_a_role_that_cannot_be_created_fails_the_restore(store, tmp_path):
    path = tmp_path / "dump.sql"
    path.write_text('CREATE TABLE t (n int);\nALTER TABLE t OWNER TO "none";\nGRANT x TO "a\\0";\n')
    error = failure(store, dump(path))
    assert error["code"] == "step_failed"
    assert error["details"].startswith("line 2")
    long = "x" * 70
    path.write_text(f"GRANT postgres TO {long}a;\nGRANT postgres TO {long}b;\n")
    error = failure(store, dump(path))
    assert f"cannot create role {long}b, which the dump mentions" in error["details"]


def test_a_selection_without_its_schema_fails_with_advice(store, dumps):
    error = failure(store, dump(dumps / "custom", "-n", "app"))
    assert "CREATE SCHEMA app in a psql stage before" in error["details"]


def test_bad_dumps_and_options_are_refused_at_once(store, dumps, tmp_path):
    cut = tmp_path / "cut.dump"
    cut.write_bytes((dumps / "custom").read_bytes()[:-1000])
    with pytest.raises(DumpUnusable, match="ends too early"):
        store.submit_chain(dump(cut))
    with pytest.raises(InvalidArgument, match="cannot read file"):
        store.submit_chain(dump(tmp_path / "missing.dump"))
    with pytest.raises(InvalidArgument, match="connection flags"):
        store.submit_chain(dump(dumps / "custom", "-h", "example.com"))
    with pytest.raises(InvalidArgument, match="plain dump"):
        store.submit_chain(dump(dumps / "sql", "--no-owner"))


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".lz4"])
def test_a_cut_compressed_dump_restores_nothing(store, tmp_path, suffix):
    # Long enough that its beginning can be decompressed, and its end is missing.
    rows = "".join(f"{os.urandom(30).hex()}\n" for _ in range(40_000))
    script = f"CREATE TABLE t (x text);\nCOPY t (x) FROM stdin;\n{rows}\\.\n"
    compress = real_dumps.compressors()[suffix]
    raw = b"".join(compress(part.encode()) for part in (script[:100_000], script[100_000:]))
    path = tmp_path / "cut"
    path.write_bytes(raw[:-5000])
    error = failure(store, dump(path))
    assert error["code"] == "dump_unusable"
    assert "ends too early" in error["details"]


def test_a_damaged_archive_is_told_from_failing_sql(store, dumps, tmp_path):
    path = tmp_path / "damaged.dump"
    raw = bytearray((dumps / "custom").read_bytes())
    at = len(raw) * 3 // 4
    raw[at : at + 500] = bytes(500)
    path.write_bytes(raw)
    assert failure(store, dump(path))["code"] == "dump_unusable"


def test_a_dump_that_changes_during_its_restore_is_a_conflict(store, tmp_path):
    path = tmp_path / "changing.sql"
    path.write_text(f"CREATE TABLE t (n int);\n\\! echo >>{path}\n")
    error = failure(store, dump(path))
    assert error["code"] == "conflict"


@pytest.mark.parametrize("kind", ["archive", "script"])
def test_a_restore_can_be_cancelled(store, slow_dumps, kind):
    job = store.submit_chain(dump(slow_dumps / kind))
    eventually(lambda: any("restore: " in line for line in store.logs(job)), "progress")
    store.engine.prepare.cancel(job)
    assert store.wait(job).error["code"] == "cancelled"
    eventually(lambda: not store.workspaces(), "the removal of the workspace")
    assert not _clients(slow_dumps)


@pytest.fixture(scope="module")
def slow_dumps(source, tmp_path_factory):
    """Dumps whose restore takes minutes."""
    place = tmp_path_factory.mktemp("slow")
    with source.connect(None) as connection:
        connection.execute("CREATE DATABASE slow")
    with source.connect(None, "slow") as connection:
        connection.execute("CREATE FUNCTION f(n int) RETURNS bool LANGUAGE sql AS 'SELECT true'")
        connection.execute("CREATE TABLE t (n int CHECK (f(n)))")
        connection.execute("INSERT INTO t SELECT generate_series(1, 10)")
        for seconds, suffix in ((0.2, "-2s"), (100, "")):
            connection.execute(
                "CREATE OR REPLACE FUNCTION f(n int) RETURNS bool LANGUAGE sql "
                f"AS 'SELECT pg_sleep({seconds}) IS NOT NULL'".encode()
            )
            for name, arguments in (("archive", ["-Fc"]), ("script", [])):
                path = str(place / f"{name}{suffix}")
                real_dumps.run(source, "pg_dump", *arguments, "-f", path, dbname="slow")
    with source.connect(None) as connection:
        # Dumps of the whole cluster must not have it.
        connection.execute("DROP DATABASE slow")
    return place


@pytest.mark.parametrize("kind", ["archive", "script"])
def test_a_restore_is_done_again_after_a_kill(engine, slow_dumps, kind):
    engine.prepare("-c", "select 1")  # the base state is there
    body = {"prepare_kind": "chain", "image_id": IMAGE, "stages": [dump(slow_dumps / f"{kind}-2s")]}
    job_id = engine.call("POST", "/v1/prepare-jobs", json=body).json()["job_id"]
    _follow_until_progress(engine, job_id)
    assert engine.stop(signal.SIGKILL) == -signal.SIGKILL
    engine.start()
    assert engine.events(job_id)[-1]["type"] == "result"
    result = engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()["result"]
    assert query(result, "select count(*) from t") == 10
    eventually(lambda: not _clients(slow_dumps), "the end of the first pg_restore")


def _follow_until_progress(engine, job_id):
    path = f"/v1/prepare-jobs/{job_id}/events"
    with engine.client() as client, client.stream("GET", path) as response:
        assert any("restore: " in line for line in response.iter_lines())


def _clients(place: Path) -> list[psutil.Process]:
    """Return the processes that restore a dump below a directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(place) in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_the_command_line_restores_dumps(engine_factory, dumps, tmp_path):
    engine = engine_factory("--idle-timeout", "0").start()
    command = ["prepare", "--state-dir", str(engine.state_dir), "--dump", "custom", "--json"]
    python = engine.command[:3]
    run = subprocess.run(
        [*python, *command, "--", "-O"],
        env=dict(engine.environ),
        cwd=dumps,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "dsn" in run.stdout
