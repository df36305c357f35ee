"""Clusters on real PostgreSQL: made, started, connected to, stopped, killed, found again."""

import contextlib
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
from support.waiting import eventually

from sqlrs_engine.config import reserved
from sqlrs_engine.conntrack import Conntrack
from sqlrs_engine.errors import ClusterFailed, InvalidArgument, LocaleUnavailable
from sqlrs_engine.postgres import cluster as cluster_module
from sqlrs_engine.postgres import postmaster as postmaster_module
from sqlrs_engine.postgres import remains
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.cluster import Cluster, StopMode
from sqlrs_engine.postgres.control_file import shut_down_cleanly
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.postgres.postmaster import DEFAULT_PORT
from sqlrs_engine.processes.identity import working_in

pytestmark = pytest.mark.postgres

MakeCluster = Callable[..., Cluster]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def cluster(make_cluster: MakeCluster, distribution: Distribution) -> Cluster:
    return make_cluster(distribution)


def value(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def ask(cluster: Cluster, query: str, port: int | None = None) -> object:
    with cluster.connect(port) as connection:
        return value(connection, query)


def over_tcp(port: int, password: str | None, user: str = "sqlrs") -> psycopg.Connection:
    return psycopg.connect(
        host="127.0.0.1", port=port, user=user, dbname="postgres", password=password
    )


def family(cluster: Cluster) -> list[psutil.Process]:
    """Return the postmaster and its children."""
    postmaster = cluster.postmaster()
    assert postmaster is not None
    process = psutil.Process(postmaster.pid)
    return [process, *process.children(recursive=True)]


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def kill(process: psutil.Process) -> None:
    """Kill a process and wait until it is a zombie at most."""
    handle = os.pidfd_open(process.pid)
    try:
        process.kill()
        assert select.select([handle], [], [], 10)[0]
    finally:
        os.close(handle)


@contextlib.contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()


# initdb


def test_initdb_tells_what_it_does(make_cluster: MakeCluster, distribution: Distribution) -> None:
    cluster = make_cluster(distribution, empty=True)
    lines: list[str] = []
    cluster.initdb(lines.append)
    assert any("creating" in line for line in lines)
    assert not any("Sync to disk" in line for line in lines)
    assert not any(str(cluster.data_dir) in line for line in lines)
    cluster.start(port=None)
    assert ask(cluster, "SELECT 1") == 1


def test_initdb_leaves_other_files_alone(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)
    cluster.data_dir.mkdir()
    (cluster.data_dir / "mine").touch()
    with pytest.raises(ClusterFailed, match="not empty"):
        cluster.initdb(lambda line: None)
    assert (cluster.data_dir / "mine").exists()


def test_initdb_stops_when_its_listener_fails(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)

    def refuse(line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError):
        cluster.initdb(refuse)


def test_initdb_without_a_parent_directory_is_an_error(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)
    cluster.data_dir.parent.joinpath("data").touch()
    with pytest.raises(
        ClusterFailed,
        match=(
            "cannot create the data directory: check the permissions and the free space of "
            "the state store"
        ),
    ):
        cluster.initdb(lambda line: None)


def test_without_its_locale_initdb_takes_c(
    make_cluster: MakeCluster, system_postgres: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlrs_engine.postgres.initdb.locales", lambda major: ("xx_XX.UTF-8", "C"))
    cluster = make_cluster(system_postgres, empty=True)
    if system_postgres.major >= 17:
        pytest.skip("its locale is built in")
    cluster.initdb(lambda line: None)
    cluster.start(port=None)
    assert ask(cluster, "SHOW server_encoding") == "UTF8"


def test_without_any_locale_initdb_fails(
    make_cluster: MakeCluster, system_postgres: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    if system_postgres.major >= 17:
        pytest.skip("its locale is built in")
    monkeypatch.setattr("sqlrs_engine.postgres.initdb.locales", lambda major: ("xx_XX.UTF-8",))
    with pytest.raises(ClusterFailed, match=r"none of these locales: .*xx_XX\.UTF-8"):
        make_cluster(system_postgres, empty=True).initdb(lambda line: None)


def test_a_cluster_is_utf8_and_depends_on_no_machine(running: Cluster) -> None:
    with running.connect(None) as connection:
        assert value(connection, "SHOW server_encoding") == "UTF8"
        assert value(connection, "SHOW TimeZone") in ("UTC", "Etc/UTC")
        assert value(connection, "SHOW lc_messages") == "C"
        assert value(connection, "SELECT upper('straße é')") in ("STRAßE É", "STRASSE É")
        assert value(connection, "SELECT current_user") == "sqlrs"
        collation = value(
            connection,
            """SELECT coalesce(nullif(datcollate, 'C'), to_jsonb(d)->>'datlocale')
                 FROM pg_database d WHERE datname = 'postgres'""",
        )
        assert collation == "C.UTF-8"


# Settings


def test_the_settings_of_a_disposable_cluster(running: Cluster) -> None:
    expected = {
        "fsync": "off",
        "full_page_writes": "off",
        "wal_level": "minimal",
        "shared_buffers": "16MB",
        "max_connections": "100",
        "jit": "off",
        "wal_segment_size": "1MB",
        "data_checksums": "off",
        "password_encryption": "scram-sha-256",
        "logging_collector": "off",
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
    }
    with running.connect(None) as connection:
        assert {name: value(connection, f"SHOW {name}") for name in expected} == expected
        # The engine's own sessions do wait for the log.
        configured = "SELECT setting FROM pg_file_settings WHERE name = 'synchronous_commit'"
        assert value(connection, configured) == "off"
        assert value(connection, "SHOW synchronous_commit") == "on"


def test_settings_of_a_start_win_but_not_over_the_address(cluster: Cluster, free_port: int) -> None:
    settings = {
        "work_mem": "9MB",
        "jit": True,
        "random_page_cost": 1.5,
        "listen_addresses": "*",
        "LISTEN_ADDRESSES": "*",
        "unix_socket_permissions": "0777",
    }
    cluster.start(port=free_port, settings=settings)
    with cluster.connect(free_port) as connection:
        assert value(connection, "SHOW work_mem") == "9MB"
        assert value(connection, "SHOW jit") == "on"
        assert value(connection, "SHOW random_page_cost") == "1.5"
        assert value(connection, "SHOW listen_addresses") == "127.0.0.1"
        assert value(connection, "SHOW unix_socket_permissions") == "0700"


def test_an_idle_cluster_has_few_processes(running: Cluster) -> None:
    assert len(family(running)) <= 6


# Start


def test_without_a_port_only_the_socket_is_there(running: Cluster) -> None:
    postmaster = running.postmaster()
    assert postmaster is not None
    process = psutil.Process(postmaster.pid)
    assert process.net_connections("inet") == []
    assert postmaster.port == DEFAULT_PORT
    assert stat.S_IMODE(running.data_dir.stat().st_mode) == 0o700
    entry = (running.data_dir / f".s.PGSQL.{DEFAULT_PORT}").stat()
    assert stat.S_ISSOCK(entry.st_mode)
    assert stat.S_IMODE(entry.st_mode) == 0o700


def test_with_a_port_it_listens_on_the_loopback_address(cluster: Cluster, free_port: int) -> None:
    postmaster = cluster.start(port=free_port)
    assert postmaster.port == free_port
    assert postmaster.runtime_id == f"{postmaster.pid}.{postmaster.start_ticks}"
    listening = {
        tuple(each.laddr) for each in psutil.Process(postmaster.pid).net_connections("tcp")
    }
    assert listening == {("127.0.0.1", free_port)}


def test_a_taken_port_is_told_apart(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match="Address already in use"):
            cluster.start(port=port)
    assert cluster.postmaster() is None
    assert cluster.start(port=port).port == port


def test_a_failed_start_quotes_the_log(cluster: Cluster) -> None:
    with pytest.raises(ClusterFailed, match="no_such_setting") as failure:
        cluster.start(port=None, settings={"no_such_setting": 1})
    assert not isinstance(failure.value, PortTaken)
    assert failure.value.message == "PostgreSQL did not start: its log has the cause"


def test_the_log_quoted_is_of_this_start(cluster: Cluster) -> None:
    for name in ("one", "two"):
        with pytest.raises(ClusterFailed) as failure:
            cluster.start(port=None, settings={name: 1})
    assert "two" in str(failure.value)
    assert "one" not in str(failure.value)


def test_a_start_out_of_time_leaves_nothing_running(cluster: Cluster) -> None:
    with pytest.raises(ClusterFailed, match="not ready within 0 s") as failure:
        cluster.start(port=None, seconds=0)
    assert not isinstance(failure.value, ServerUnusable)  # it says nothing of the cluster
    assert working_in(cluster.data_dir) == []
    cluster.start(port=None)


def test_a_directory_without_a_cluster_does_not_start(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)
    cluster.data_dir.mkdir()
    with pytest.raises(ClusterFailed):
        cluster.start(port=None)


def test_a_server_without_a_log_file_does_not_start(cluster: Cluster) -> None:
    (cluster.data_dir.parent / "postgres.log").mkdir()
    with pytest.raises(
        ClusterFailed,
        match="cannot start PostgreSQL: check its installation with `sqlrs-engine doctor`",
    ):
        cluster.start(port=None)


def test_a_server_whose_programs_are_missing_does_not_start(
    make_cluster: MakeCluster, distribution: Distribution, tmp_path: Path
) -> None:
    gone = replace(distribution, bin_dir=tmp_path / "bin", library_dirs=())
    empty = make_cluster(gone, empty=True)
    with pytest.raises(ClusterFailed, match=r"missing|cannot run|initdb failed"):
        empty.initdb(lambda line: None)
    with pytest.raises(ClusterFailed):
        empty.start(port=None)


# A server that runs already


def test_a_running_server_is_taken_as_it_is(
    cluster: Cluster, free_port: int, distribution: Distribution, os_user: OsUser | None
) -> None:
    started = cluster.start(port=free_port)
    another = Cluster(
        distribution, cluster.data_dir, os_user=os_user, log_file=cluster.data_dir / "../other.log"
    )
    assert another.postmaster() == started
    assert another.start(port=free_port) == started
    assert not (cluster.data_dir / "../other.log").exists()
    with pytest.raises(ClusterFailed, match="on another port"):
        another.start(port=None)
    another.stop("fast")
    assert cluster.postmaster() is None


def test_a_running_server_has_to_be_ready(running: Cluster) -> None:
    pid_file = running.data_dir / "postmaster.pid"
    text = pid_file.read_text()
    pid_file.write_text(text.replace("ready", "starting"))
    try:
        with pytest.raises(ClusterFailed, match="does not become ready"):
            running.start(port=None, seconds=0.1)
    finally:
        pid_file.write_text(text)


def test_a_child_leaves_no_zombie(cluster: Cluster) -> None:
    postmaster = cluster.start(port=None)
    cluster.stop("fast")
    eventually(lambda: not psutil.pid_exists(postmaster.pid), "the end of the server")


# Stop


def is_alive(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended may leave its entry for a moment."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stop_ends_every_process_although_clients_are_there(cluster: Cluster, mode: str) -> None:
    cluster.start(port=None)
    with contextlib.suppress(psycopg.OperationalError), cluster.connect(None) as connection:
        connection.execute("SELECT 1")
        processes = family(cluster)
        cluster.stop(mode)  # type: ignore[arg-type]
        assert [each for each in processes if is_alive(each)] == []
    assert not (cluster.data_dir / "postmaster.pid").exists()
    assert cluster.postmaster() is None
    cluster.stop(mode)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_data_outlive_a_stop(cluster: Cluster, mode: str) -> None:
    cluster.start(port=None)
    with cluster.connect(None) as connection:
        connection.execute("SET synchronous_commit = on")
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    cluster.stop(mode)  # type: ignore[arg-type]
    cluster.start(port=None)
    assert ask(cluster, "SELECT n FROM t") == 1


def test_a_server_that_does_not_obey_is_killed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmaster_module, "KILL_SECONDS", 0.2)
    cluster.start(port=None)
    processes = family(cluster)
    with frozen(processes[0]), pytest.raises(ClusterFailed, match=r"did not stop within 0\.1 s"):
        cluster.stop("fast", seconds=0.1)
    assert working_in(cluster.data_dir) == []
    assert not (cluster.data_dir / "postmaster.pid").exists()
    cluster.start(port=None)
    with frozen(family(cluster)[0]):
        cluster.stop("immediate", seconds=0.1)
    assert working_in(cluster.data_dir) == []


def test_many_stops_and_starts_at_once_of_different_clusters(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    clusters = [make_cluster(distribution) for _ in range(3)]
    failures: list[BaseException] = []

    def work(cluster: Cluster) -> None:
        try:
            for _ in range(3):
                cluster.start(port=None)
                assert ask(cluster, "SELECT 1") == 1
                cluster.stop("immediate")
                assert cluster.postmaster() is None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(each,)) for each in clusters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# After a kill


def test_the_next_start_clears_the_leftovers_of_a_killed_server(cluster: Cluster) -> None:
    cluster.start(port=None)
    postmaster, *children = family(cluster)
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.enter_context(frozen(child))  # so that they cannot end by themselves
        kill(postmaster)
        assert cluster.postmaster() is None
        cluster.start(port=None)
        assert [each for each in children if each.is_running() and each.status() != "zombie"] == []
    assert ask(cluster, "SELECT 1") == 1


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stop_clears_the_leftovers_of_a_killed_server(cluster: Cluster, mode: str) -> None:
    cluster.start(port=None)
    kill(family(cluster)[0])
    cluster.stop(mode)  # type: ignore[arg-type]
    assert working_in(cluster.data_dir) == []
    assert list(cluster.data_dir.glob(".s.PGSQL.*")) == []
    assert not (cluster.data_dir / "postmaster.pid").exists()


def shared_memory(cluster: Cluster) -> tuple[set[Path], str]:
    """Return the named segments of a running cluster, and its System V segment."""
    postmaster = cluster.postmaster()
    assert postmaster is not None
    maps = Path(f"/proc/{postmaster.pid}/maps").read_text().split()
    lines = (cluster.data_dir / "postmaster.pid").read_text().splitlines()
    return {Path(each) for each in maps if each.startswith("/dev/shm/")}, lines[6].split()[1]


def segments() -> set[str]:
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return {line.split()[1] for line in lines}


@pytest.mark.parametrize("again", [False, True])
def test_no_shared_memory_of_a_killed_server_stays(cluster: Cluster, again: bool) -> None:
    """In a container /dev/shm is small, and a directory that is removed cannot clean up."""
    cluster.start(port=None)
    with contextlib.suppress(psycopg.Error, ClusterFailed), cluster.connect(None) as connection:
        connection.execute("SET max_parallel_workers_per_gather = 0")
        files, segment = shared_memory(cluster)
        kill(family(cluster)[0])
    assert files
    assert all(each.exists() for each in files)
    assert segment in segments()
    if again:
        cluster.start(port=None)
    cluster.stop("immediate")
    assert not [each for each in files if each.exists()]
    assert segment not in segments()


def test_a_pid_that_passed_to_another_process_stops_nothing(cluster: Cluster) -> None:
    cluster.start(port=None)
    kill(family(cluster)[0])
    stale = cluster.data_dir / "postmaster.pid"
    lines = stale.read_text().splitlines()
    with subprocess.Popen(["sleep", "60"]) as innocent:
        stale.write_text("\n".join([str(innocent.pid), *lines[1:]]) + "\n")
        assert cluster.postmaster() is None
        cluster.stop("immediate")
        cluster.start(port=None)
        assert innocent.poll() is None
        innocent.kill()
    assert ask(cluster, "SELECT 1") == 1


def test_a_process_that_will_not_die_is_reported(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lives_on(directory: Path, seconds: float) -> list[int]:
        raise TimeoutError("process 7 does not end")

    (cluster.data_dir / "postmaster.pid").write_text("7\n")
    monkeypatch.setattr(remains, "kill_working_in", lives_on)
    with pytest.raises(ClusterFailed, match="process 7 does not end"):
        cluster.start(port=None)
    (cluster.data_dir / "postmaster.pid").unlink()


def test_a_server_that_dies_as_it_is_stopped(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pid may have passed on between the look at it and the signal."""
    postmaster = cluster.start(port=None)
    stale = replace(postmaster, start_ticks=postmaster.start_ticks - 1)
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "postmaster", lambda: stale)
        patch.setattr(cluster_module, "clear_remains", lambda data_dir, container: None)
        cluster.stop("immediate")
    assert cluster.postmaster() == postmaster


# Connections and passwords


def test_a_connection_is_the_superusers_and_shows_whose_it_is(running: Cluster) -> None:
    with running.connect(None, "template1") as connection:
        assert value(connection, "SELECT current_database()") == "template1"
        assert value(connection, "SHOW application_name") == "sqlrs-engine"
        assert value(connection, "SHOW is_superuser") == "on"
        assert connection.autocommit
    with running.connect(None, autocommit=False) as connection:
        assert not connection.autocommit


def test_a_connection_ignores_the_environment(
    running: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "PGHOST": "192.0.2.1",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "nobody",
        "PGDATABASE": "nothing",
        "PGOPTIONS": "-c work_mem=1GB",
        "PGSSLMODE": "require",
        "PGCLIENTENCODING": "LATIN1",
        "PGTARGETSESSIONATTRS": "standby",
    }.items():
        monkeypatch.setenv(name, text)
    assert ask(running, "SHOW work_mem") == "4MB"


def test_a_server_that_does_not_run_refuses(cluster: Cluster) -> None:
    with pytest.raises(ClusterFailed, match="cannot connect to PostgreSQL"):
        cluster.connect(None)


def test_a_cluster_whose_users_dropped_a_database_is_reached_through_another(
    cluster: Cluster, free_port: int
) -> None:
    cluster.start(port=free_port)
    with cluster.connect_to_any(free_port) as connection:
        assert value(connection, "SELECT current_database()") == "postgres"
    with cluster.connect(free_port, "template1") as connection:
        connection.execute("DROP DATABASE postgres")
    with cluster.connect_to_any(free_port) as connection:
        assert value(connection, "SELECT current_database()") == "template1"
    assert Conntrack().read(cluster, free_port).sessions is not None


def test_sessions_of_clients_end_and_what_they_left_open(cluster: Cluster, free_port: int) -> None:
    cluster.start(port=free_port)
    cluster.set_password(free_port, "secret")
    with cluster.connect(free_port) as own:
        own.execute("CREATE TABLE t (n int)")
        dsn = f"postgresql://sqlrs:secret@127.0.0.1:{free_port}/postgres"
        with psycopg.connect(dsn) as client:
            client.execute("INSERT INTO t VALUES (1)")
            cluster.end_sessions(free_port)
            own.execute("SET lock_timeout = '1s'; ALTER TABLE t ADD COLUMN m int")
            with pytest.raises(psycopg.OperationalError):
                client.execute("SELECT 1")
        assert own.execute("SELECT count(*) FROM t").fetchone() == (0,)


def test_setting_the_password_counts_the_sessions(cluster: Cluster, free_port: int) -> None:
    """The engine's next look finds one more session, its own, unless somebody was there."""
    cluster.start(port=free_port)
    before = cluster.set_password(free_port, "secret")
    assert not Conntrack().read(cluster, free_port).shows_use_since(before)
    before = cluster.set_password(free_port, "secret")
    over_tcp(free_port, "secret").close()
    assert Conntrack().read(cluster, free_port).shows_use_since(before)


def test_tcp_takes_the_password_and_nothing_else(cluster: Cluster, free_port: int) -> None:
    cluster.start(port=free_port)
    for password in (None, "", "wrong"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            over_tcp(free_port, password)
    cluster.set_password(free_port, "p'4 $ß"[:-1])
    over_tcp(free_port, "p'4 $").close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        over_tcp(free_port, "wrong")
    cluster.set_password(free_port, "another")
    over_tcp(free_port, "another").close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        over_tcp(free_port, "p'4 $")
    cluster.set_password(free_port, None)
    with pytest.raises(psycopg.OperationalError, match="password"):
        over_tcp(free_port, "another")
    log = (cluster.data_dir.parent / "postgres.log").read_text()
    assert "another" not in log


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_password_outlives_the_server_that_ends_at_once(
    cluster: Cluster, free_port: int, mode: StopMode
) -> None:
    cluster.start(port=free_port)
    cluster.set_password(free_port, "kept")
    cluster.stop(mode)
    cluster.start(port=free_port)
    with over_tcp(free_port, "kept") as connection:
        assert connection.info.user == "sqlrs"


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE postgres SET default_transaction_read_only = on",
        "ALTER ROLE sqlrs SET default_transaction_read_only = on",
        "ALTER ROLE sqlrs SET statement_timeout = '1ms'",
        "ALTER SYSTEM SET default_transaction_read_only = on",
    ],
)
def test_a_password_is_set_whatever_a_script_did(
    cluster: Cluster, free_port: int, statement: str
) -> None:
    cluster.start(port=free_port)
    with cluster.connect(free_port) as connection:
        connection.execute(statement)
        connection.execute("SELECT pg_reload_conf()")
    cluster.set_password(free_port, "new")
    with over_tcp(free_port, "new") as connection:
        assert connection.info.user == "sqlrs"


def test_a_password_that_cannot_be_set(
    make_cluster: MakeCluster, system_postgres: Distribution
) -> None:
    if system_postgres.major >= 16:
        pytest.skip("since PostgreSQL 16 the superuser stays one")
    cluster = make_cluster(system_postgres)
    cluster.start(port=None)
    with cluster.connect(None) as connection:
        connection.execute("ALTER ROLE sqlrs NOSUPERUSER")
    with pytest.raises(ClusterFailed, match="cannot set the password: permission denied"):
        cluster.set_password(None, "new")


# Long paths


@pytest.fixture
def deep() -> Iterator[Path]:
    """A directory with a path longer than a socket's may be."""
    top = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
    place = top / ("d" * 80) / ("e" * 80)
    place.mkdir(parents=True)
    yield place
    shutil.rmtree(top)


def test_a_data_directory_may_have_a_long_path(
    deep: Path, make_cluster: MakeCluster, distribution: Distribution, free_port: int
) -> None:
    cluster = make_cluster(distribution, empty=True, parent=deep)
    assert len(str(cluster.data_dir)) > 160
    cluster.initdb(lambda line: None)
    cluster.start(port=free_port)
    descriptors = open_descriptors()
    connection = cluster.connect(free_port)
    timer = threading.Timer(0.2, connection.cancel)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(60)")
    timer.join()
    connection.close()
    del connection, timer
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208
    psql = cluster.client("psql", ["-XAtc", "SELECT 7"], port=free_port, stdout=subprocess.PIPE)
    assert psql.communicate(timeout=30)[0] == b"7\n"
    cluster.stop("fast")
    with pytest.raises(ClusterFailed, match="cannot connect"):
        cluster.connect(free_port)
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


# Clients


def test_a_client_program_is_connected(running: Cluster) -> None:
    psql = running.client(
        "psql",
        [
            "-XAtc",
            "SELECT current_user, current_database(), application_name FROM pg_stat_activity "
            "WHERE pid = pg_backend_pid()",
        ],
        port=None,
        stdout=subprocess.PIPE,
    )
    assert psql.communicate(timeout=30)[0] == b"sqlrs|postgres|psql\n"
    assert psql.returncode == 0


def test_a_client_reads_what_it_is_given_and_sees_little(
    running: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SQLRS_SECRET", "token")
    monkeypatch.setenv("PGPASSWORD", "secret")
    (tmp_path / "in.sql").write_text("\\! env; pwd\nSELECT 'after'")
    with (tmp_path / "in.sql").open("rb") as stdin:
        psql = running.client(
            "psql",
            ["-XAt"],
            port=None,
            dbname="template1",
            cwd=tmp_path,
            stdin=stdin,
            stdout=subprocess.PIPE,
            environment={"EXTRA": "1"},
        )
    output = psql.communicate(timeout=30)[0].decode()
    assert psql.returncode == 0
    assert "EXTRA=1" in output
    assert "PGDATABASE=template1" in output
    assert str(tmp_path) in output
    assert "after" in output
    assert "SQLRS_SECRET" not in output
    assert "PGPASSWORD" not in output


def test_a_client_leads_its_own_group_and_session(running: Cluster) -> None:
    psql = running.client("psql", ["-Xc", "SELECT pg_sleep(60)"], port=None)
    assert os.getpgid(psql.pid) == psql.pid
    assert os.getsid(psql.pid) == psql.pid
    os.killpg(psql.pid, signal.SIGKILL)
    psql.wait(30)


@pytest.mark.parametrize("program", ["", ".", "..", "/bin/sh", "../bin/psql", "a/b"])
def test_a_client_program_is_a_plain_name(running: Cluster, program: str) -> None:
    with pytest.raises(
        InvalidArgument,
        match="invalid name of a PostgreSQL program: write a plain name such as pg_dump",
    ):
        running.client(program, [], port=None)


def test_an_unknown_client_program_is_an_error(running: Cluster) -> None:
    with pytest.raises(InvalidArgument, match=r"no program of this name: .*pg_nonsense"):
        running.client("pg_nonsense", [], port=None)


# Root


@as_root
@pytest.mark.root
def test_as_root_the_server_is_an_unprivileged_user_that_sees_nothing_of_ours(
    cluster: Cluster, os_user: OsUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLRS_SECRET", "token")
    postmaster = cluster.start(port=None)
    process = psutil.Process(postmaster.pid)
    assert set(process.uids()) == {os_user.uid}
    assert set(process.gids()) == {os_user.gid}
    status = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{postmaster.pid}/status").read_text().splitlines()
    )
    assert status["Groups"].split() == []
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    environment = {name for name in process.environ() if not name.startswith("PG")}
    assert environment <= {"PATH", "LANG", "TZ", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES"}
    assert os.getsid(postmaster.pid) == postmaster.pid


@as_root
@pytest.mark.root
def test_as_root_a_cluster_of_an_earlier_engine_keeps_running_as_its_owner(
    cluster: Cluster, os_user: OsUser
) -> None:
    nobody = 65534
    assert os_user.uid != nobody
    for path in (cluster.data_dir, *cluster.data_dir.rglob("*")):
        os.chown(path, nobody, nobody, follow_symlinks=False)
    postmaster = cluster.start(port=None)
    assert set(psutil.Process(postmaster.pid).uids()) == {nobody}


@as_root
@pytest.mark.root
def test_as_root_the_servers_user_owns_everything_that_initdb_made(
    make_cluster: MakeCluster, wheel_postgres: Distribution, os_user: OsUser
) -> None:
    cluster = make_cluster(wheel_postgres, empty=True)
    cluster.initdb(lambda line: None)
    made = [cluster.data_dir, *cluster.data_dir.rglob("*")]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in made} == {
        (os_user.uid, os_user.gid)
    }


@as_root
@pytest.mark.root
def test_as_root_without_setpriv_the_server_runs_as_its_user(
    cluster: Cluster, os_user: OsUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sqlrs_engine.postgres.launcher.switch_user", lambda user: [])
    postmaster = cluster.start(port=None)
    assert set(psutil.Process(postmaster.pid).uids()) == {os_user.uid}
    status = Path(f"/proc/{postmaster.pid}/status").read_text()
    assert "\nGroups:\t \n" in status


@as_root
@pytest.mark.root
def test_as_root_a_server_uses_a_data_directory_that_only_root_can_reach(
    make_cluster: MakeCluster, distribution: Distribution, os_user: OsUser, free_port: int
) -> None:
    cluster = make_cluster(distribution, empty=True)
    assert stat.S_IMODE(cluster.data_dir.parent.stat().st_mode) == 0o700
    assert cluster.data_dir.parent.stat().st_uid == 0
    cluster.initdb(lambda line: None)
    assert cluster.data_dir.stat().st_uid == os_user.uid
    cluster.start(port=free_port)
    assert ask(cluster, "SHOW data_directory", free_port).startswith("/proc/self/fd/")  # type: ignore[attr-defined]
    with cluster.connect(free_port) as connection:
        connection.execute("ALTER SYSTEM SET work_mem = '7MB'")
        connection.execute("SELECT pg_reload_conf()")
        eventually(lambda: value(connection, "SHOW work_mem") == "7MB", "the reload")


@as_root
@pytest.mark.root
def test_as_root_a_server_uses_a_data_directory_that_everyone_can_reach(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution)
    cluster.data_dir.parent.chmod(0o755)
    cluster.start(port=None)
    assert ask(cluster, "SHOW data_directory") == str(cluster.data_dir)


@as_root
@pytest.mark.root
def test_programs_that_root_alone_can_reach_are_copied(
    make_cluster: MakeCluster, wheel_postgres: Distribution, public_root: Path
) -> None:
    hidden = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
    try:
        home = hidden / "package" / "pginstall"
        shutil.copytree(wheel_postgres.root, home, symlinks=True)
        libraries = []
        for each in wheel_postgres.library_dirs:
            place = Path(os.path.normpath(home / os.path.relpath(each, wheel_postgres.root)))
            shutil.copytree(each, place, symlinks=True)
            libraries.append(place)
        other = replace(
            wheel_postgres,
            image_id="postgres@sha256:" + "c" * 64,
            bin_dir=home / "bin",
            library_dirs=tuple(libraries),
        )
        cluster = make_cluster(other, empty=True)
        cluster.initdb(lambda line: None)
        postmaster = cluster.start(port=None)
        assert psutil.Process(postmaster.pid).exe().startswith(str(public_root))
        assert ask(cluster, "SELECT 1") == 1
    finally:
        shutil.rmtree(hidden)


def test_the_data_directory_tells_a_clean_end_from_another(cluster: Cluster) -> None:
    assert shut_down_cleanly(cluster.data_dir)  # as initdb left it
    cluster.start(port=None)
    assert not shut_down_cleanly(cluster.data_dir)
    cluster.stop("immediate")
    assert not shut_down_cleanly(cluster.data_dir)
    cluster.start(port=None)
    cluster.stop("fast")
    assert shut_down_cleanly(cluster.data_dir)
    assert not shut_down_cleanly(cluster.data_dir / "nowhere")


def test_a_server_that_fails_while_it_stops_is_no_success(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.start(port=None)
    monkeypatch.setattr(cluster_module, "shut_down_cleanly", lambda _: False)
    with pytest.raises(ClusterFailed, match="failed while it stopped") as failure:
        cluster.stop("fast")
    assert "database system is shut down" in (failure.value.details or "")


def test_a_server_listens_on_one_address_or_on_none(cluster: Cluster, free_port: int) -> None:
    def addresses() -> list[str]:
        server = psutil.Process(postmaster.pid)
        return [each.laddr.ip for each in server.net_connections("inet")]

    postmaster = cluster.start(port=free_port)
    assert addresses() == ["127.0.0.1"]
    cluster.stop("immediate")
    postmaster = cluster.start(port=None)
    assert addresses() == []


# What ``postgres.settings`` may name

SENSITIVE = """
SELECT name FROM pg_settings
WHERE context = 'internal'
   OR category IN ('File Locations', 'Preset Options')
   OR category LIKE '%/ Authentication'
   OR category LIKE '%/ SSL'
   OR category LIKE '%/ Shared Library Preloading'
   OR category LIKE '%/ Connection Settings' AND name !~ '(connections$|^tcp_|interval$)'
   OR vartype = 'string' AND (
      name ~ '(_file|_files|file_name|filename|_dir|_directory|_directories|_path|_command)$'
      OR name ~ '(_library|_libraries|_provider|_destination|_conninfo|_addresses|_port)$'
      OR short_desc ~* '(file|directory|librar(y|ies)|shell command|connection string)')
"""
HARMLESS = {"search_path", "debug_io_direct", "temp_tablespaces"}


def test_no_setting_of_files_libraries_programs_or_logins_is_free(running: Cluster) -> None:
    with running.connect(None) as connection:
        names = {str(name) for (name,) in connection.execute(SENSITIVE)}
    assert len(names) > 50
    assert names - HARMLESS - set(reserved.NAMES) == set()


# Roles and locales


def test_every_cluster_has_a_superuser_postgres_to_own_objects(running: Cluster) -> None:
    with running.connect(None) as connection:
        connection.execute("CREATE TABLE owned (n int)")
        connection.execute("ALTER TABLE owned OWNER TO postgres")
        connection.execute("SET ROLE postgres")
        connection.execute("CREATE ROLE made_by_postgres SUPERUSER")
        # As in dumps: PostgreSQL allows it for the first superuser of a cluster alone.
        connection.execute("GRANT made_by_postgres TO sqlrs GRANTED BY postgres")
        options = "rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        row = connection.execute(f"SELECT {options} FROM pg_roles WHERE rolname = 'postgres'")
        assert row.fetchone() == (True,) * 6


def test_the_superuser_postgres_is_no_way_in(
    make_cluster: MakeCluster, distribution: Distribution, free_port: int
) -> None:
    cluster = make_cluster(distribution)
    cluster.start(port=free_port)
    cluster.set_password(free_port, "secret")
    for password in (None, "", "postgres", "null", "secret"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            over_tcp(free_port, password, "postgres")


def test_a_recipe_adds_ordinary_roles_and_a_locale_of_the_c_library(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)
    names = ["web_anon", "Domain Users", 'a"b', "bücher", "r" * 63]
    cluster.initdb(lambda line: None, BaseRecipe.of(names, "C.UTF-8"))
    cluster.start(port=None)
    with cluster.connect(None) as connection:
        rows = connection.execute(
            "SELECT rolname, rolsuper, rolcanlogin, rolpassword FROM pg_authid"
            " WHERE rolname !~ '^pg_' AND rolname NOT IN ('sqlrs', 'postgres')"
        ).fetchall()
        assert sorted(rows) == sorted((name, False, True, None) for name in names)
        database = "FROM pg_database WHERE datname = 'postgres'"
        assert value(connection, f"SELECT datcollate {database}") == "C.UTF-8"
        assert value(connection, "SHOW lc_messages") == "C"
        if distribution.major >= 15:
            assert value(connection, f"SELECT datlocprovider::text {database}") == "c"


def test_a_role_that_cannot_be_created_fails_the_initialisation(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)
    with pytest.raises(ClusterFailed, match=r"check postgres\.roles") as caught:
        cluster.initdb(lambda line: None, BaseRecipe(roles=("pg_reserved",)))
    assert "pg_reserved" in (caught.value.details or "")


def test_a_locale_that_the_c_library_lacks_is_an_error_of_its_own(
    make_cluster: MakeCluster, distribution: Distribution
) -> None:
    cluster = make_cluster(distribution, empty=True)
    with pytest.raises(
        LocaleUnavailable, match=r"xx_XX\.utf8: install it .*, or choose "
    ) as caught:
        cluster.initdb(lambda line: None, BaseRecipe(locale="xx_XX.utf8"))
    assert "xx_XX" in (caught.value.details or "")
