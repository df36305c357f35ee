"""Instances on real PostgreSQL: what clients see of creation, restart, reset, promotion."""

import contextlib
import socket
import threading
from pathlib import Path

import psutil
import psycopg
import pytest
from support.waiting import eventually

from sqlrs_engine import instances
from sqlrs_engine.clock import shift, utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.deletion import Deletion
from sqlrs_engine.errors import Conflict
from sqlrs_engine.instances import Expiry, Instances, Servers, configured_ports
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.errors import SettingsUnfit
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.registry import Registry
from sqlrs_engine.statefs import StateFs, data_dir
from sqlrs_engine.statefs.probe import choose_backend
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import State
from sqlrs_engine.store.sqlite import SqliteStore

pytestmark = pytest.mark.postgres

STATE = "ab" * 32


class Offset:
    """The true time, moved."""

    seconds = 0.0

    def __call__(self):
        return shift(utc_now(), self.seconds)


class Engine:
    """The parts of an engine that instances need, over one store."""

    def __init__(self, root: Path, image: str = "postgres") -> None:
        self.clock = Offset()
        self.os_user = OsUser.for_engine(None)
        self.distributions = Distributions(root / "distributions")
        self.distribution = self.distributions.resolve(image)
        owner = (self.os_user.uid, self.os_user.gid) if self.os_user else None
        self.files = StateFs(root, choose_backend(root, "copy"), owner=owner)
        self.config = Config(root / "config.json")
        self.store = SqliteStore(root / "state.db", clock=self.clock)
        self.leases = Leases()
        expiry = Expiry(self.store, self.config, self.clock)
        self.registry = Registry(self.store, clock=self.clock, on_names_changed=expiry.renew)
        self.servers = Servers(self.distributions, self.os_user)
        self.instances = Instances(
            instances.Services(
                store=self.store,
                files=self.files,
                servers=self.servers,
                config=self.config,
                registry=self.registry,
                leases=self.leases,
                states=States(self.store.states, self.files, self.clock),
                expiry=expiry,
                ports=configured_ports(self.config, self.store.instances),
                clock=self.clock,
            )
        )
        self.deletion = Deletion(self.store, self.instances, self.leases, self.files)

    def cluster(self, container: Path) -> Cluster:
        return Cluster(
            self.distribution,
            data_dir(container),
            os_user=self.os_user,
            log_file=container / "postgres.log",
        )

    def cluster_of(self, instance) -> Cluster:
        return self.cluster(self.files.instance_dir(instance.instance_id))

    def add_base_state(self) -> None:
        """Publish a state with one table of one row."""
        workspace = self.files.new_workspace()
        cluster = self.cluster(workspace)
        cluster.initdb(lambda line: None)
        postmaster = cluster.start(port=None, settings={})
        try:
            with cluster.connect(postmaster.port) as connection:
                connection.execute("CREATE TABLE t AS SELECT 1 AS n")
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

    def close(self) -> None:
        self.instances.pool.stop()
        self.instances.stop()
        for instance in self.store.instances.find(InstanceFilter()):
            self.instances.removal.remove(instance.instance_id)
        self.files.wait_idle()
        self.store.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    engine = Engine(root)
    engine.add_base_state()
    engine.close()
    return root


@pytest.fixture
def engine(root):
    engine = Engine(root)
    yield engine
    engine.close()


@pytest.fixture
def instance(engine):
    return engine.instances.creation.create(STATE)


def rows(instance):
    with psycopg.connect(instance.dsn, autocommit=True) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]


def insert(instance, n):
    with psycopg.connect(instance.dsn, autocommit=True) as connection:
        # Instances commit asynchronously: the kill of a server loses the last moments.
        connection.execute("SET synchronous_commit = on")
        connection.execute("INSERT INTO t VALUES (%s)", (n,))


def kill_server(engine, instance):
    """Kill the postmaster as the kernel would, and wait until all of it is gone."""
    postmaster = psutil.Process(engine.cluster_of(instance).postmaster().pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    postmaster.kill()
    psutil.wait_procs(family, timeout=30)


def test_an_instance_serves_its_dsn_at_once(engine, instance):
    assert rows(instance) == [1]
    assert engine.instances.usage.connections(instance.instance_id) == 0


def test_tcp_wants_the_password(instance):
    for dsn in (
        f"postgres://sqlrs@127.0.0.1:{instance.port}/postgres",
        f"postgres://sqlrs:wrong@127.0.0.1:{instance.port}/postgres",
    ):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(dsn)


def test_the_server_listens_on_the_loopback_address_only(engine, instance):
    pid = engine.cluster_of(instance).postmaster().pid
    listening = [
        connection.laddr
        for connection in psutil.Process(pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", instance.port)]


def test_instances_of_one_state_are_independent(engine, instance):
    other = engine.instances.creation.create(STATE)
    insert(other, 2)
    assert (rows(instance), rows(other)) == ([1], [1, 2])


def test_a_killed_server_comes_back_with_its_data(engine, instance):
    insert(instance, 2)
    kill_server(engine, instance)
    again = engine.instances.restart.ensure_running(instance.instance_id)
    assert again.dsn == instance.dsn
    assert rows(instance) == [1, 2]


def test_nobody_gets_the_port_while_the_server_is_down(engine, instance):
    kill_server(engine, instance)
    with pytest.raises(OSError, match="in use"):
        socket.create_server(("127.0.0.1", instance.port))
    assert engine.instances.restart.ensure_running(instance.instance_id).dsn == instance.dsn
    assert rows(instance) == [1]


def test_after_a_port_was_taken_the_old_password_is_worth_nothing(engine, instance):
    insert(instance, 2)
    engine.instances.stop()  # an engine that is not there holds no port
    kill_server(engine, instance)
    with socket.create_server(("127.0.0.1", instance.port)):
        moved = engine.instances.restart.ensure_running(instance.instance_id)
    assert rows(moved) == [1, 2]
    assert moved.port != instance.port
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(moved.dsn.replace(moved.password, instance.password))


def test_a_server_that_dies_is_back_without_being_asked_for(engine, instance):
    insert(instance, 2)
    engine.instances.supervisor.start()
    kill_server(engine, instance)

    def back():
        with contextlib.suppress(psycopg.OperationalError):
            return rows(instance) == [1, 2]

    eventually(back, "the server")
    # By force: the session just closed counts until its server has ended.
    assert engine.instances.reset.apply(instance.instance_id, force=True).dsn == instance.dsn
    assert engine.instances.removal.remove(instance.instance_id)


def test_removal_leaves_no_process_and_no_files(engine, instance):
    postmaster = psutil.Process(engine.cluster_of(instance).postmaster().pid)
    family = [postmaster, *postmaster.children(recursive=True)]
    engine.instances.removal.remove(instance.instance_id)
    eventually(lambda: not any(map(psutil.Process.is_running, family)), "the end of the server")
    assert not engine.files.instance_dir(instance.instance_id).exists()


def test_connections_of_clients_are_seen_and_block_a_deletion(engine, instance):
    with psycopg.connect(instance.dsn), psycopg.connect(instance.dsn):
        assert engine.instances.usage.connections(instance.instance_id) == 2
        result = engine.deletion.instance(instance.instance_id)
        assert (result.outcome, result.root.connections) == ("blocked", 2)
        result = engine.deletion.instance(instance.instance_id, force=True)
        assert result.outcome == "deleted"
    assert engine.store.instances.get(instance.instance_id) is None


def test_only_use_by_others_extends_a_life(engine):
    used = engine.instances.creation.create(STATE, ttl=600)
    unused = engine.instances.creation.create(STATE, ttl=600)
    rows(used)
    for _ in range(3):
        engine.instances.usage.connections(unused.instance_id)
    try:
        engine.clock.seconds = 601
        assert engine.instances.reaper.reap() == [unused.instance_id]
        engine.clock.seconds = 1300
        assert engine.instances.reaper.reap() == [used.instance_id]
    finally:
        engine.clock.seconds = 0


def test_a_full_instance_is_in_use(engine):
    engine.config.set("postgres.settings", {"max_connections": 5})
    try:
        instance = engine.instances.creation.create(STATE)
    finally:
        engine.config.remove("postgres.settings")
    with contextlib.ExitStack() as clients:
        with contextlib.suppress(psycopg.OperationalError):
            for _ in range(6):
                clients.enter_context(psycopg.connect(instance.dsn))
        assert engine.instances.usage.connections(instance.instance_id) >= 1


def test_reset_undoes_everything(engine, instance):
    insert(instance, 2)
    with psycopg.connect(instance.dsn):
        with pytest.raises(Conflict):
            engine.instances.reset.apply(instance.instance_id)
        after = engine.instances.reset.apply(instance.instance_id, force=True)
    assert after.dsn == instance.dsn
    assert rows(instance) == [1]


def test_a_promoted_instance_is_a_state_of_its_own(engine, instance):
    insert(instance, 2)
    state = engine.instances.promotion.promote(instance.instance_id)
    insert(instance, 3)
    clone = engine.instances.creation.create(state.state_id)
    assert rows(clone) == [1, 2]
    assert rows(instance) == [1, 2, 3]
    assert clone.password != instance.password
    engine.instances.removal.remove(clone.instance_id)
    assert engine.deletion.state(state.state_id).outcome == "deleted"


def test_an_instance_with_settings_is_promoted_with_them(engine):
    """A logical replication slot and a prepared transaction, which outlive a restart."""
    needed = {"wal_level": "logical", "max_wal_senders": 2, "max_prepared_transactions": 2}
    engine.config.set("postgres.settings", needed)
    try:
        instance = engine.instances.creation.create(STATE)
        with psycopg.connect(instance.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_create_logical_replication_slot('s', 'pgoutput')")
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t VALUES (2)")
            connection.execute("PREPARE TRANSACTION 'later'")
        state = engine.instances.promotion.promote(instance.instance_id)
        clone = engine.instances.creation.create(state.state_id)
        with psycopg.connect(clone.dsn, autocommit=True) as connection:
            connection.execute("COMMIT PREPARED 'later'")
        assert rows(clone) == [1, 2]

        # Without them neither starts, and the failure names what to mind.
        for name in ("wal_level", "max_prepared_transactions"):
            fewer = {key: value for key, value in needed.items() if key != name}
            if name == "wal_level":
                fewer["max_wal_senders"] = 0
            engine.config.set("postgres.settings", fewer)
            with pytest.raises(SettingsUnfit, match=name) as refused:
                engine.instances.promotion.promote(instance.instance_id)
            assert refused.value.status == 409
            engine.config.set("postgres.settings", needed)
            engine.instances.restart.ensure_running(instance.instance_id)
            assert rows(instance) == [1]
        for each in (clone, instance):
            engine.instances.removal.remove(each.instance_id)
        assert engine.deletion.state(state.state_id).outcome == "deleted"
    finally:
        engine.config.remove("postgres.settings")


def test_the_next_engine_adopts_and_restarts(engine, instance, root):
    dead = engine.instances.creation.create(STATE)
    insert(dead, 2)
    engine.instances.stop()
    kill_server(engine, dead)
    following = Engine(root)
    following.instances.recovery.run()
    try:
        assert following.store.instances.get(instance.instance_id) == instance
        assert (rows(instance), rows(dead)) == ([1], [1, 2])
    finally:
        following.instances.stop()
        following.store.close()


def test_the_next_engine_ends_servers_without_a_row(engine, instance, root):
    pid = engine.cluster_of(instance).postmaster().pid
    engine.store.instances.remove(instance.instance_id)
    following = Engine(root)
    following.instances.recovery.run()
    following.instances.stop()
    following.store.close()
    assert not psutil.pid_exists(pid)
    assert not engine.files.instance_dir(instance.instance_id).exists()


def test_a_port_taken_between_choice_and_start_is_replaced(engine, monkeypatch):
    """While a server starts its port cannot be held, and somebody may be quicker."""
    thieves = []
    ports = engine.instances.services.ports
    admitting = ports.admitting

    @contextlib.contextmanager
    def admitting_a_thief(port):
        with admitting(port):
            if not thieves:
                thieves.append(socket.create_server(("127.0.0.1", port)))
            yield

    monkeypatch.setattr(ports, "admitting", admitting_a_thief)
    try:
        instance = engine.instances.creation.create(STATE)
        assert instance.port != thieves[0].getsockname()[1]
        assert rows(instance) == [1]
    finally:
        thieves[0].close()


def test_several_at_once(engine):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(engine.instances.creation.create(STATE)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [rows(instance) for instance in made] == [[1]] * 3


@pytest.fixture
def pool(engine):
    """The pool of the engine, at work."""
    engine.instances.pool.start()
    return engine.instances.pool


def await_standbys(pool, count):
    tick = threading.Event()
    for _ in range(3000):
        if len(pool.standbys()) == count:
            return pool.standbys()
        tick.wait(0.01)
    pytest.fail(f"{len(pool.standbys())} standbys, not {count}")


def test_a_standby_is_handed_over_as_it_runs(engine, pool, instance):
    [standby] = await_standbys(pool, 1)
    assert 1024**2 < standby.memory_bytes < 64 * 1024**2
    assert engine.store.instances.find(InstanceFilter()) == [instance]
    warm = engine.instances.creation.create(STATE, ttl=10)
    assert warm.instance_id == standby.clone.instance_id
    assert rows(warm) == [1]
    insert(warm, 2)
    assert (rows(instance), rows(warm)) == ([1], [1, 2])
    kill_server(engine, warm)
    again = engine.instances.restart.ensure_running(warm.instance_id)
    assert again.dsn == warm.dsn
    assert rows(warm) == [1, 2]


@pytest.mark.parametrize("used", [True, False])
def test_making_an_instance_does_not_count_as_use(engine, pool, instance, used):
    await_standbys(pool, 1)
    warm = engine.instances.creation.create(STATE, ttl=10)
    if used:
        rows(warm)
    engine.clock.seconds += 11
    try:
        assert (warm.instance_id in engine.instances.reaper.reap()) is not used
    finally:
        engine.clock.seconds = 0.0


def test_standbys_have_the_settings_of_new_instances(engine, pool, instance):
    [old] = await_standbys(pool, 1)
    engine.config.set("postgres.settings", {"work_mem": "7MB"})
    tick = threading.Event()
    for _ in range(3000):
        if pool.standbys() not in ([], [old]):
            break
        tick.wait(0.01)
    warm = engine.instances.creation.create(STATE)
    with psycopg.connect(warm.dsn) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("7MB",)
    assert not old.clone.alive()


def test_the_end_of_the_pool_leaves_the_instances(engine, pool, instance):
    [standby] = await_standbys(pool, 1)
    pool.stop()
    assert not standby.clone.alive()
    assert not standby.clone.container.exists()
    assert rows(instance) == [1]


def test_standbys_of_a_killed_engine_are_removed(engine, pool, instance, root):
    [standby] = await_standbys(pool, 1)
    pid = engine.cluster(standby.clone.container).postmaster().pid
    pool.take(STATE)  # as if this engine were dead
    following = Engine(root)
    following.instances.recovery.run()
    following.instances.stop()
    following.store.close()
    eventually(lambda: not psutil.pid_exists(pid), "the end of the server")
    assert not standby.clone.container.exists()
    assert rows(instance) == [1]
