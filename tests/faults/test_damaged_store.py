"""What is damaged by hand is noticed, said, and built again where that can be."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.fix_store import Store, query

from sqlrs_engine.errors import ClusterFailed, StoreDamaged

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

SCRIPT = ("-c", "create table t as select 1 as n")
Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), "postgres:18")
    store.without_pool()
    yield store
    store.close()


def writable(container: Path) -> Path:
    """Open a sealed container to the damage; return its data directory."""
    for path in (container, container / "data"):
        path.chmod(0o700)
    return container / "data"


def data_elsewhere(container: Path) -> None:
    data = writable(container)
    data.rename(container / "moved")
    data.symlink_to("moved")


def elsewhere(container: Path) -> None:
    container.chmod(0o700)
    container.rename(container.with_name("moved"))
    container.symlink_to("moved")


def control_damaged(container: Path) -> None:
    control = writable(container) / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    content[16:200] = os.urandom(184)
    control.write_bytes(content)


@pytest.mark.parametrize("damage", [data_elsewhere, elsewhere, control_damaged])
def test_a_damaged_state_is_built_again(store: Store, damage: Damage) -> None:
    result = store.prepare(*SCRIPT)
    directory = store.engine.files.state_dir(result["image_id"], result["state_id"])
    damage(directory)
    again = store.prepare(*SCRIPT)
    assert again["state_id"] == result["state_id"]
    assert query(again, "select n from t") == 1
    assert store.cached(store.submit_and_wait(*SCRIPT)) == [True]
    assert query(result, "select n from t") == 1, "instances are clones, not views"


def test_a_step_on_a_damaged_state_rebuilds_the_state(store: Store) -> None:
    result = store.prepare(*SCRIPT)
    control_damaged(store.engine.files.state_dir(result["image_id"], result["state_id"]))
    longer = store.prepare(*SCRIPT, "-c", "insert into t values (2)")
    assert query(longer, "select sum(n) from t") == 3


def test_a_damaged_empty_cluster_is_made_again(store: Store) -> None:
    store.prepare("-c", "select 1")
    (base,) = store.root.glob("engines/*/*/bases/*")
    control_damaged(base)
    assert query(store.prepare("-c", "select 2"), "select 1") == 1


def test_settings_that_let_nothing_start_cost_no_state(store: Store) -> None:
    result = store.prepare(*SCRIPT)
    store.engine.config.set("postgres.settings", {"shared_buffers": "900GB"})
    try:
        with pytest.raises(ClusterFailed, match=result["state_id"]):
            store.engine.instances.creation.create(result["state_id"])
        error = store.failure(*SCRIPT)
    finally:
        store.engine.config.remove("postgres.settings")
    assert error["code"] == "cluster_failed"
    assert "postgres.settings" in error["message"]
    assert "shared memory" in error["details"]
    assert store.cached(store.submit_and_wait(*SCRIPT)) == [True]


@pytest.mark.parametrize("filled", [False, True])
def test_a_directory_in_place_of_a_pid_file(store: Store, filled: bool) -> None:
    result = store.prepare(*SCRIPT)
    data = store.engine.files.instance_dir(result["instance_id"]) / "data"
    pid_file = data / "postmaster.pid"
    with store.engine.instances.services.locks.hold(result["instance_id"]):  # no revival yet
        postmaster = psutil.Process(int(pid_file.read_text().split("\n")[0]))
        postmaster.send_signal(signal.SIGQUIT)
        psutil.wait_procs([postmaster], timeout=60)
        pid_file.unlink(missing_ok=True)
        pid_file.mkdir()
        if filled:
            (pid_file / "something").touch()
    store.engine.instances.restart.ensure_running(result["instance_id"])
    assert query(result, "select n from t") == 1


def test_a_damaged_instance_says_how_to_mend_it(store: Store) -> None:
    result = store.prepare(*SCRIPT)
    instance_id = result["instance_id"]
    container = store.engine.files.instance_dir(instance_id)
    with store.engine.instances.services.locks.hold(instance_id):
        store.engine.servers.kill(container)
        control_damaged(container)
    with pytest.raises(ClusterFailed, match="reset it"):
        store.engine.instances.restart.ensure_running(instance_id)
    with store.engine.instances.services.locks.hold(instance_id):
        data_elsewhere(container)
    with pytest.raises(StoreDamaged, match="reset it"):
        store.engine.instances.restart.ensure_running(instance_id)
    store.engine.instances.reset.apply(instance_id)
    assert query(result, "select n from t") == 1
