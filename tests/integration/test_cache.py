"""The cache of a real engine: evicted, explained, refused, and on a disk that is full."""

import contextlib
import json
import os
import subprocess

import psycopg
import pytest
from support import base_states
from support.prepare_requests import single_stage
from support.waiting import eventually

from sqlrs_engine.engine.composition import Engine
from sqlrs_engine.errors import StorageFull
from sqlrs_engine.instances import Instances
from sqlrs_engine.store import InstanceFilter, StateFilter

pytestmark = pytest.mark.postgres

MIB = 1024**2


class Bench:
    """An engine in this process, and what is asked of it."""

    def __init__(self, root):
        self.root = root
        self.engine = Engine(root)
        self.cache = self.engine.services.cache
        self.configure(minStateAge="0s", reserveBytes=0)

    @property
    def instances(self) -> Instances:
        return self.engine.instances

    def configure(self, **capacity):
        for name, value in capacity.items():
            self.engine.config.set(f"cache.capacity.{name}", value)

    def request(self, *args):
        return single_stage(prepare_kind="psql", image_id="postgres", psql_args=args)

    def run(self, *args):
        """Prepare, and return the job's record once it is terminal."""
        prepare = self.engine.prepare
        job = prepare.submit(self.request(*args))
        eventually(
            lambda: prepare.events.read(job.job_id, 0).state == "ended", "the job's end", 120
        )
        return self.engine.store.jobs.get(job.job_id)

    def prepare(self, *args):
        """Prepare, which must succeed, and return the result."""
        job = self.run(*args)
        assert job.status == "succeeded", job.error
        return job.result

    def prepare_and_drop(self, *args):
        """Prepare and delete the instance; return the id of its state."""
        result = self.prepare(*args)
        self.instances.removal.remove(result["instance_id"])
        self.engine.files.wait_idle()
        return result["state_id"]

    def states(self):
        return {state.state_id: state for state in self.engine.store.states.find(StateFilter())}

    def workspaces(self):
        self.engine.files.wait_idle()
        return list(self.root.glob("work/*"))

    def close(self):
        for instance in self.engine.store.instances.find(InstanceFilter()):
            self.engine.instances.removal.remove(instance.instance_id)
        self.engine.stop()
        self.engine.close()


@pytest.fixture
def empty_bench(tmp_path):
    """An engine that has to make its base state itself."""
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def bench(tmp_path):
    base_states.seed(tmp_path)
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.fixture
def small_bench(tmp_path):
    """An engine whose store has a disk of 320 MiB to itself."""
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=320m", "tmpfs", disk], check=True)
    try:
        bench = Bench(disk)
        try:
            yield bench
        finally:
            bench.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def numbers(dsn):
    with psycopg.connect(dsn) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM t")]


def table(n):
    return ("-c", f"create table t as select {n} as n")


def test_old_states_make_room_for_new_ones(bench):
    one = bench.prepare_and_drop(*table(1))
    two = bench.prepare(*table(2))
    bench.configure(maxBytes=int(2.7 * bench.states()[one].size_bytes))
    three = bench.prepare_and_drop(*table(3))
    assert set(bench.states()) == {two["state_id"], three}
    last = bench.cache.status()["last_eviction"]
    assert (last["trigger"], last["evicted_count"]) == ("prepare_step", 1)
    assert bench.cache.explain(bench.request(*table(1)))["decision"] == "miss"
    again = bench.prepare(*table(1))
    assert (again["state_id"], numbers(again["dsn"])) == (one, [1])
    assert set(bench.states()) == {two["state_id"], one}
    assert numbers(two["dsn"]) == [2]


def test_states_that_do_not_fit_are_refused(bench):
    bench.configure(maxBytes=1000)
    job = bench.run(*table(1))
    assert (job.status, job.error["code"]) == ("failed", "cache_limit_too_small")
    details = json.loads(job.error["details"])
    assert (details["phase"], details["configured_max_bytes"]) == ("prepare_step", 1000)
    assert details["needed_bytes"] > 1000
    assert (bench.states(), bench.workspaces()) == ({}, [])
    bench.configure(maxBytes=0)
    assert numbers(bench.prepare(*table(1))["dsn"]) == [1]


def test_a_state_larger_than_its_parent_is_refused_before_it_is_published(bench):
    bench.prepare_and_drop(*table(1))
    (state,) = bench.states().values()
    bench.configure(maxBytes=2 * state.size_bytes + 5 * MIB)
    filled = "create table f as select repeat('x', 1000) as x from generate_series(1, 20000)"
    job = bench.run(*table(1), "-c", filled)
    assert (job.status, job.error["code"]) == ("failed", "cache_limit_too_small")
    assert json.loads(job.error["details"])["phase"] == "snapshot"
    assert (set(bench.states()), bench.workspaces()) == ({state.state_id}, [])


def fill(n):
    """Return a step that adds 20 MiB."""
    return (
        "-c",
        f"create table f{n} as select repeat('x', 1000) as x from generate_series(1, 18300)",
    )


def sizes(bench):
    return [state.size_bytes for state in bench.states().values()]


def test_a_chain_goes_on_without_its_middle_states_where_they_do_not_fit(bench):
    bench.prepare_and_drop(*table(7))
    (first,) = sizes(bench)
    steps = [argument for n in range(4) for argument in fill(n)]
    # Room for the last two states, and less than for all five.
    room = 2 * (first + 4 * 21 * MIB)
    bench.configure(maxBytes=room)
    result = bench.prepare(*table(7), *steps)
    assert numbers(result["dsn"]) == [7]
    assert len(bench.states()) == 5
    assert 0 in sizes(bench)
    assert sum(sizes(bench)) <= room
    on_disk = {path.name for path in bench.root.glob("engines/*/*/states/*")}
    assert on_disk == {key for key, state in bench.states().items() if state.size_bytes}
    # It is all there for the next, and a middle state is built when it is asked for.
    assert bench.prepare_and_drop(*table(7), *steps) == result["state_id"]
    assert bench.cache.explain(bench.request(*table(7), *steps))["decision"] == "hit"
    gone = next(key for key, state in bench.states().items() if not state.size_bytes)
    number = list(bench.states()).index(gone)
    bench.configure(maxBytes=0)
    again = bench.prepare(*table(7), *steps[: 2 * number])
    assert (again["state_id"], numbers(again["dsn"])) == (gone, [7])
    assert bench.states()[gone].size_bytes


def test_explain_says_which_file_changed(bench, tmp_path):
    part = tmp_path / "part.sql"
    part.write_text("select 1;")
    main = tmp_path / "main.sql"
    main.write_text("\\ir part.sql\n")
    args = (*table(1), "-v", "x=1", "-f", str(main))
    result = bench.prepare(*args)
    explained = bench.cache.explain(bench.request(*args))
    assert (explained["decision"], explained["matched_state_id"]) == ("hit", result["state_id"])
    part.write_text("select 2;")
    explained = bench.cache.explain(bench.request(*args))
    assert explained["missing_steps"] == 1
    assert explained["nearest_state_id"] == bench.states()[result["state_id"]].parent_state_id
    assert explained["changes"] == [{"kind": "file", "name": str(part), "step": 1}]


# Nothing left on the device

BASE_PHASES = ["new_workspace", "sync"]
PHASES = ["clone_to_workspace", "usage", "publish", "add", "clone"]


def failing(bench, monkeypatch, phase, failures):
    """Let the first calls of a phase find the disk full."""
    owner = bench.engine.store.states if phase == "add" else bench.engine.files
    call, left = getattr(owner, phase), [failures]

    def full(*args):
        if left[0]:
            left[0] -= 1
            raise StorageFull("the disk is full", "No space left on device")
        return call(*args)

    monkeypatch.setattr(owner, phase, full)


def check_a_job_that_finds_the_disk_full(bench, monkeypatch, phase):
    """Run a job whose phase finds the disk full each time: it fails and leaves nothing behind."""
    with monkeypatch.context() as patch:
        failing(bench, patch, phase, failures=1000)
        job = bench.run(*table(1))
    assert job.status == "failed"
    assert job.error["code"] == "cache_full_unreclaimable"
    assert bench.workspaces() == []
    assert bench.engine.store.instances.find(InstanceFilter()) == []
    # A state that was complete by then stays.
    assert len(bench.states()) == (1 if phase == "clone" else 0)
    published = {path.name for path in bench.root.glob("engines/*/*/states/*")}
    assert published == set(bench.states())


@pytest.mark.parametrize("phase", BASE_PHASES)
def test_a_full_disk_while_the_base_state_is_made(empty_bench, monkeypatch, phase):
    check_a_job_that_finds_the_disk_full(empty_bench, monkeypatch, phase)
    assert numbers(empty_bench.prepare(*table(1))["dsn"]) == [1]


@pytest.mark.parametrize("phase", PHASES)
def test_a_full_disk_in_any_phase(bench, monkeypatch, phase):
    """Nothing is left behind; and where an eviction helps, the job does not notice."""
    check_a_job_that_finds_the_disk_full(bench, monkeypatch, phase)
    old = bench.prepare_and_drop(*table(1))
    failing(bench, monkeypatch, phase, failures=1)
    assert numbers(bench.prepare(*table(2))["dsn"]) == [2]
    assert old not in bench.states()


@pytest.mark.root
def test_a_server_that_cannot_say_that_the_disk_is_full(small_bench, monkeypatch):
    filler = small_bench.root / "filler"
    servers = small_bench.engine.servers
    kill = servers.kill

    def server(image_id, container):
        cluster = type(servers).server(servers, image_id, container)
        start = cluster.start

        def start_without_space(**options):
            with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                while file.write(b"x" * MIB):
                    pass
            return start(**options)

        cluster.start = start_without_space
        return cluster

    def kill_and_make_room(container):
        filler.unlink(missing_ok=True)
        kill(container)

    small_bench.prepare_and_drop(*table(1))
    monkeypatch.setattr(servers, "server", server)
    monkeypatch.setattr(servers, "kill", kill_and_make_room)
    job = small_bench.run(*table(2))
    assert (job.status, job.error["code"]) == ("failed", "cache_full_unreclaimable")
    assert (small_bench.states(), small_bench.workspaces()) == ({}, [])


def test_the_text_of_an_error_evicts_nothing(bench):
    kept = bench.prepare_and_drop(*table(1))
    raised = "do $$ begin raise exception 'No space left on device'; end $$"
    for last in (raised, "\\copy (select 1) to '/dev/full'"):
        job = bench.run("-c", last)
        assert (job.status, job.error["code"]) == ("failed", "step_failed")
        assert "No space left on device" in job.error["details"]
    assert kept in bench.states()


# A disk that is full


@pytest.mark.root
def test_a_step_that_fills_the_disk_leaves_nothing(small_bench):
    kept = small_bench.prepare(*table(1))
    flood = "create table f as select repeat('x', 1000) as x from generate_series(1, 1000000)"
    job = small_bench.run("-c", flood)
    assert (job.status, job.error["code"]) == ("failed", "cache_full_unreclaimable")
    assert (set(small_bench.states()), small_bench.workspaces()) == ({kept["state_id"]}, [])
    assert numbers(kept["dsn"]) == [1]
    assert numbers(small_bench.prepare(*table(2))["dsn"]) == [2]


@pytest.mark.root
def test_a_step_that_finds_the_disk_full_is_tried_again_after_an_eviction(small_bench):
    for number in range(3):
        small_bench.prepare_and_drop(*table(number))
    free = small_bench.cache.status()["store_free_bytes"]
    size = max(state.size_bytes for state in small_bench.states().values())
    # More than there is beside the step's own copy, less than with a state evicted.
    rows = (free - 3 * size // 4) // 8192 * 7  # seven of them to a page
    result = small_bench.prepare(
        "-c",
        f"create table f as select repeat('x', 1000) as x from generate_series(1, {rows});"
        "drop table f; create table t as select 9 as n",
    )
    assert numbers(result["dsn"]) == [9]
    assert small_bench.cache.status()["last_eviction"]["trigger"] == "prepare_step"
    assert small_bench.workspaces() == []


@pytest.mark.root
def test_middle_states_make_room_on_a_disk_that_is_full(small_bench):
    """Not all of the chain fits, nor does the instance beside its last two states."""
    steps = [argument for n in range(4) for argument in fill(n)]
    result = small_bench.prepare(*table(7), *steps)
    assert numbers(result["dsn"]) == [7]
    assert 0 in sizes(small_bench)
    assert small_bench.workspaces() == []
