"""Eviction: what goes and in which order, what stays, what is refused."""

import json
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cache_fakes import GIB, HOUR, CacheWorld
from support.instance_fakes import IMAGE, state_id
from support.waiting import eventually

from sqlrs_engine.cache import eviction
from sqlrs_engine.clock import shift
from sqlrs_engine.deletion import Deletion
from sqlrs_engine.errors import (
    CacheLimitTooSmall,
    CacheUnavailable,
    EngineError,
    NotFound,
    StorageFull,
)
from sqlrs_engine.store import InstanceFilter, StateFilter

FULL = StorageFull("the disk is full", "No space left on device")


@pytest.fixture
def world(tmp_path):
    world = CacheWorld(tmp_path)
    yield world
    world.close()


def evicted(world):
    return [int(name, 16) for name in world.files.discarded]


# Which go


def test_nothing_goes_without_pressure(world):
    world.configure(maxBytes=1000)
    for number in range(9):
        world.add(number)
    world.cache.make_room("prepare_step")
    assert world.left() == [*range(9)]
    assert world.report.status().get("last_eviction") is None


def test_states_go_until_the_low_watermark(world):
    world.configure(maxBytes=1000)
    for number in range(10):
        world.add(number, age=HOUR + number)
    world.cache.make_room("prepare_step")
    assert evicted(world) == [9, 8]
    assert not any(world.files.state_dir(IMAGE, state_id(n)).exists() for n in (8, 9))


def test_the_longest_unused_go_first_then_the_larger(world):
    world.configure(maxBytes=1000, lowWatermark=0.1, highWatermark=0.11)
    world.add(1, age=5000, used=1000)
    world.add(2, age=2000)  # never used: as if when it was made
    world.add(3, age=3000, used=3000, size=50)
    world.add(4, age=3000, used=3000, size=60)
    world.add(5, age=9000, used=10)
    world.cache.make_room("prepare_step")
    assert evicted(world) == [4, 3, 2, 1]


def test_a_chain_goes_leaf_by_leaf(world):
    world.configure(maxBytes=1000, lowWatermark=0.1, highWatermark=0.11)
    world.add(1, age=9000)
    world.add(2, parent=1, age=8000)
    world.add(3, parent=2, age=7000)
    world.add(4, age=7500, used=100)
    world.cache.make_room("prepare_step")
    assert evicted(world) == [3, 2, 1]


def test_what_is_in_use_or_young_or_protected_stays(world):
    world.configure(maxBytes=100, minStateAge="10m")
    world.create(world.add(1))
    world.add(2)
    world.add(3, parent=2, age=599)
    world.add(4)
    world.add(5, min_retention_until=shift(world.clock.now, 1))
    leased = world.add(6)
    world.add(7)
    world.add(8, min_retention_until=world.clock.now)
    world.add(9, age=600)
    with world.leases.lease(leased):
        world.cache.make_room("metadata_commit", [state_id(4)])
    assert sorted(evicted(world)) == [7, 8, 9]
    status = world.report.status()
    assert status["last_eviction"]["blocked_count"] == 6
    # The lease has ended, and so has the protection.
    assert (status["reclaimable_bytes"], status["blocked_count"]) == (200, 4)


def test_states_of_unknown_size_can_go(world):
    world.configure(maxBytes=100)
    world.add(1, size=None, age=9000)
    world.add(2, size=100)
    world.cache.make_room("metadata_commit")
    assert evicted(world) == [1, 2]


# Space on the disk


def test_states_go_until_the_reserve_is_free(world):
    world.configure(reserveBytes=300 * GIB)
    for number in range(4):
        world.add(number, size=100 * GIB, age=HOUR - number)
    world.others = 450 * GIB
    world.cache.make_room("prepare_step")
    assert evicted(world) == [0, 1]
    assert world.disk().free == 350 * GIB


def test_space_that_is_being_given_back_spares_states(world):
    world.configure(reserveBytes=300 * GIB)
    world.add(1, size=100 * GIB)
    world.files.sizes["deleted"] = 700 * GIB
    world.files.trash.append("deleted")
    world.cache.make_room("prepare_step")
    assert world.left() == [1]


def test_the_disk_is_not_waited_for_when_only_usage_matters(world):
    world.configure(maxBytes=1000)
    for number in range(10):
        world.add(number)
    world.cache.make_room("prepare_step")
    assert (len(world.left()), world.files.waits) == (8, 0)


def test_a_disk_below_the_reserve_does_not_stop_work(world):
    """The rest of the disk is full of other things: what is there is used all the same."""
    world.configure(reserveBytes=None)
    world.others = 992 * GIB
    world.add(1, size=GIB, age=10)
    world.cache.make_room("prepare_step", growth=GIB)
    world.cache.make_room("snapshot", growth=GIB)
    assert world.report.status()["pressure_reasons"] == ["physical_free_below_reserve"]


def test_a_disk_without_room_for_a_copy_is_full(world):
    world.others = 999 * GIB
    world.add(1, size=GIB // 2, age=10)
    with pytest.raises(StorageFull, match="no room for another copy") as failure:
        world.cache.make_room("prepare_step", growth=GIB)
    details = json.loads(failure.value.details)
    assert details["reasons"] == ["physical_free_below_reserve"]
    assert (details["phase"], details["needed_bytes"]) == ("prepare_step", GIB)
    assert (details["store_free_bytes"], details["blocked_count"]) == (GIB // 2, 1)
    # Where blocks are shared, or on the disk already, none are needed.
    world.new_cache(shares_blocks=True).make_room("prepare_step", growth=GIB)
    world.cache.make_room("snapshot", growth=GIB)


# The limit


def test_a_limit_that_cannot_be_met_refuses(world):
    world.configure(maxBytes=1000)
    for number in range(9):
        world.add(number, age=10)
    world.cache.make_room("snapshot", growth=100)
    with pytest.raises(StorageFull, match=r"cache is full.*maxBytes") as failure:
        world.cache.make_room("snapshot", growth=101)
    assert json.loads(failure.value.details) == {
        "phase": "snapshot",
        "reasons": ["usage_above_high_watermark"],
        "needed_bytes": 101,
        "usage_bytes": 900,
        "configured_max_bytes": 1000,
        "effective_max_bytes": 1000,
        "reserve_bytes": 0,
        "store_free_bytes": 1000 * GIB - 900,
        "store_total_bytes": 1000 * GIB,
        "state_count": 9,
        "dump_bytes": 0,
        "reclaimable_bytes": 0,
        "blocked_count": 9,
    }


def test_a_limit_below_what_one_preparation_needs_is_too_small(world):
    world.configure(maxBytes=1000)
    with pytest.raises(CacheLimitTooSmall, match="do not fit into the cache"):
        world.cache.make_room("prepare_step", growth=1001)
    own = world.add(1, size=600, age=10)
    with pytest.raises(CacheLimitTooSmall):
        world.cache.make_room("snapshot", [own, state_id(404)], growth=500)


def test_a_reserve_that_leaves_nothing_is_refused(world):
    world.configure(reserveBytes=1000 * GIB)
    with pytest.raises(CacheLimitTooSmall, match="reserveBytes"):
        world.cache.make_room("prepare_step")


@pytest.mark.parametrize("phase", ["metadata_commit", "startup_recovery"])
def test_what_is_done_already_is_not_refused(world, phase):
    world.configure(maxBytes=50)
    world.add(1, age=10)
    world.cache.make_room(phase)
    assert world.left() == [1]


def test_a_disk_that_cannot_be_measured_is_an_error_of_its_own(world, monkeypatch):
    def fail():
        raise OSError("stale file handle")

    monkeypatch.setattr(world, "disk", fail)
    for call in (world.report.status, lambda: world.cache.make_room("prepare_step")):
        with pytest.raises(CacheUnavailable) as failure:
            call()
        assert failure.value.details == "stale file handle"
    world.cache.make_room("metadata_commit")
    assert not world.cache.relieve("prepare_step", FULL)


def test_a_store_that_does_not_answer_is_the_same(world, monkeypatch):
    def fail(filter):
        raise EngineError("the state store's database cannot be read")

    world.configure(maxBytes=1)
    world.add(1)
    monkeypatch.setattr(world.store.states, "find", fail)
    with pytest.raises(CacheUnavailable, match="limits of the cache cannot be enforced"):
        world.cache.make_room("snapshot")


# After a write has failed


def test_relief_evicts_whatever_the_numbers_say(world):
    """A quota is used up while the disk has space."""
    for number in range(3):
        world.add(number, age=HOUR - number)
    assert world.cache.relieve("snapshot", FULL, growth=150)
    assert evicted(world) == [0, 1]
    assert world.cache.relieve("prepare_step", FULL, [state_id(1)])
    assert world.left() == []


def test_what_nobody_needs_goes_before_any_state(world):
    world.configure(reserveBytes=100 * GIB)
    world.add(1)
    world.others = 901 * GIB
    world.spare = 2 * GIB
    world.cache.make_room("prepare_step")
    assert (world.spare, evicted(world)) == (0, [])
    world.others = 901 * GIB
    world.cache.make_room("prepare_step")
    assert evicted(world) == [1]


def test_it_stays_while_only_the_states_are_too_large(world):
    world.configure(maxBytes=100)
    world.add(1)
    world.spare = GIB
    world.cache.make_room("metadata_commit")
    assert (world.spare, evicted(world)) == (GIB, [1])


def test_giving_it_up_is_a_relief(world):
    world.spare = GIB
    assert world.cache.relieve("snapshot", FULL)
    assert not world.cache.relieve("snapshot", FULL)


def test_a_copy_must_leave_the_reserve(world):
    world.configure(reserveBytes=100 * GIB)
    world.others = 890 * GIB
    assert world.cache.has_room(10 * GIB)
    assert not world.cache.has_room(11 * GIB)
    assert world.new_cache(shares_blocks=True).has_room(11 * GIB)
    world.others = 901 * GIB
    assert not world.new_cache(shares_blocks=True).has_room(0)


def test_a_refusal_is_not_relieved(world):
    world.configure(maxBytes=100)
    world.add(1, age=10)
    with pytest.raises(StorageFull) as refusal:
        world.cache.make_room("snapshot", growth=50)
    world.clock.advance(HOUR)
    assert not world.cache.relieve("snapshot", refusal.value)
    assert world.left() == [1]


def test_relief_without_anything_to_evict(world):
    world.add(1, age=10)
    assert not world.cache.relieve("prepare_step", FULL)
    # What the failed attempt itself gives back is of no use to the next.
    world.files.sizes["workspace"] = 1
    world.files.trash.append("workspace")
    assert not world.cache.relieve("prepare_step", FULL)


def test_jobs_that_fail_at_the_same_time_are_relieved_together(world, monkeypatch):
    """The second job evicts everything while the first one begins."""
    world.add(1)
    relieved = []

    def second_job():
        monkeypatch.setattr(world, "release_spare", lambda: False)
        relieved.append(world.cache.relieve("prepare_step", FULL))
        return False

    monkeypatch.setattr(world, "release_spare", second_job)
    relieved.append(world.cache.relieve("prepare_step", FULL))
    assert relieved == [True, True]
    assert world.left() == []


def test_a_database_without_room_for_the_removal_gets_it_from_the_files(world, monkeypatch):
    state = world.add(1)
    remove, attempts = world.store.states.remove, []

    def full_at_first(state_id):
        attempts.append(list(world.files.trash))
        if state_id in world.files.sizes:
            raise StorageFull("the disk of the state store is full")
        return remove(state_id)

    monkeypatch.setattr(world.store.states, "remove", full_at_first)
    assert world.cache.relieve("prepare_step", FULL)
    assert world.left() == []
    assert evicted(world) == [int(state, 16)]
    assert len(attempts) == 2


def test_a_full_disk_is_noticed(world, monkeypatch):
    assert not world.cache.exhausted()
    world.others = world.total
    assert world.cache.exhausted()

    def fail():
        raise OSError("stale file handle")

    monkeypatch.setattr(world, "disk", fail)
    assert not world.new_cache().exhausted()


def test_an_eviction_that_cannot_be_noted_is_one_all_the_same(world, monkeypatch):
    def full(key, value):
        raise StorageFull("the disk of the state store is full")

    world.add(1)
    monkeypatch.setattr(world.store.meta, "put", full)
    assert world.cache.relieve("prepare_step", FULL)
    assert world.left() == []


def test_files_that_cannot_be_removed_do_not_stop_the_others(world, monkeypatch):
    discard = world.files.discard

    def stubborn(path):
        if path.name == state_id(1):
            raise PermissionError("no")
        discard(path)

    monkeypatch.setattr(world.files, "discard", stubborn)
    world.configure(maxBytes=100)
    world.add(1, age=9000)
    world.add(2)
    world.cache.make_room("metadata_commit")
    assert world.left() == []


# Beside others


def test_a_state_that_comes_into_use_at_the_last_moment_stays(world, monkeypatch):
    world.configure(maxBytes=300)
    for number in (1, 2, 3):
        world.add(number, age=9000 - number)
    retire = world.leases.retire

    @contextmanager
    def late(ids):
        ids = list(ids)
        if state_id(1) in ids:
            world.add(4, parent=1)
        if state_id(2) in ids:
            world.store.states.touch(state_id(2), world.clock.now)
        with retire(ids) as claimed:
            yield claimed

    monkeypatch.setattr(world.leases, "retire", late)
    world.cache.make_room("metadata_commit")
    assert world.left() == [1, 2, 4]


def test_a_state_deleted_meanwhile_is_not_counted(world, monkeypatch):
    world.configure(maxBytes=300)
    for number in (1, 2, 3):
        world.add(number, age=9000 - number)
    retire, others = world.leases.retire, []

    def late(ids):
        if not others:
            others.append(world.store.states.remove(state_id(1)))
        return retire(ids)

    monkeypatch.setattr(world.leases, "retire", late)
    world.cache.make_room("metadata_commit")
    assert world.left() == [2, 3]
    assert "last_eviction" not in world.report.status()


def test_a_lease_taken_while_the_order_is_made_keeps_the_state(world, monkeypatch):
    world.configure(maxBytes=100)
    world.add(1)
    with world.leases.lease(state_id(1)):
        monkeypatch.setattr(world.leases, "leased", lambda state_id: False)
        world.cache.make_room("metadata_commit")
    assert world.left() == [1]


@pytest.mark.timeout(60)
def test_creations_deletions_and_evictions_at_once(world):
    """Whoever gets an instance keeps it and its state; all ends, and rows match files."""
    world.configure(maxBytes=100, minStateAge="0s")
    deletion = Deletion(world.store, world.instances, world.leases, world.files)
    states = [world.add(number, parent=number - 1 if number % 3 else None) for number in range(30)]
    start = threading.Barrier(3)
    made, failures = [], []

    def create():
        start.wait()
        for state in states[::2]:
            with suppress(NotFound):
                made.append(world.create(state))

    def evict():
        start.wait()
        for _ in range(10):
            world.cache.make_room("metadata_commit")

    def delete():
        start.wait()
        for state in reversed(states[1::4]):
            with suppress(NotFound):
                deletion.state(state)

    def guarded(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    with ThreadPoolExecutor(3) as pool:
        for work in (create, evict, delete):
            pool.submit(guarded, work)
    assert failures == []
    rows = {state.state_id for state in world.store.states.find(StateFilter())}
    assert {i.state_id for i in made} <= rows
    assert len(world.store.instances.find(InstanceFilter())) == len(made)
    kept = {path.name for path in world.files.state_dir(IMAGE, states[0]).parent.iterdir()}
    assert kept == rows


@pytest.mark.timeout(60)
def test_evictions_wait_for_one_another(world, monkeypatch):
    world.configure(maxBytes=1000, minStateAge="0s")
    for number in range(20):
        world.add(number)
    at_work, most = [], []
    retire = world.leases.retire

    @contextmanager
    def watched(ids):
        at_work.append(1)
        most.append(len(at_work))
        with retire(ids) as claimed:
            yield claimed
        at_work.pop()

    monkeypatch.setattr(world.leases, "retire", watched)
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(world.cache.make_room, "prepare_step") for _ in range(4)]:
            future.result()
    assert (len(world.left()), max(most)) == (8, 1)


# For any states


@st.composite
def stores(draw):
    """Draw states, parents before children, each with what may keep it."""
    states = []
    for number in range(draw(st.integers(1, 10))):
        states.append(
            {
                "number": number,
                "parent": draw(st.sampled_from([None, *range(number)])),
                "size": draw(st.integers(0, 50)),
                "age": draw(st.integers(0, 1200)),
                "used": draw(st.none() | st.integers(0, 1200)),
                "keep": draw(
                    st.sampled_from(["no", "no", "no", "instance", "lease", "protect", "retain"])
                ),
            }
        )
    return states


@settings(max_examples=60, deadline=None)
@given(stores(), st.integers(1, 200))
def test_only_what_is_free_goes_and_as_much_as_it_takes(states, limit):
    with tempfile.TemporaryDirectory() as root:
        world = CacheWorld(Path(root))
        try:
            check(world, states, limit)
        finally:
            world.close()


def check(world, states, limit):
    world.configure(maxBytes=limit, minStateAge="10m")
    for state in states:
        kept_for_good = {"min_retention_until": shift(world.clock.now, 60)}
        fields = {key: state[key] for key in ("parent", "size", "age", "used")}
        world.add(state["number"], **fields, **(kept_for_good if state["keep"] == "retain" else {}))
        if state["keep"] == "instance":
            world.add_instance_row(state_id(state["number"]), port=20000 + state["number"])
    kept = {s["number"] for s in states if s["keep"] != "no" or s["age"] < 600}
    for state in reversed(states):
        if state["number"] in kept and state["parent"] is not None:
            kept.add(state["parent"])
    leased = [state_id(s["number"]) for s in states if s["keep"] == "lease"]
    protected = [state_id(s["number"]) for s in states if s["keep"] == "protect"]
    size = {s["number"]: s["size"] for s in states}
    before = sum(size.values())
    with world.leases.lease(*leased):
        world.cache.make_room("metadata_commit", protected)
    left = world.left()
    assert kept <= set(left)
    if before <= 0.9 * limit:
        assert len(left) == len(states)
    elif sum(size[number] for number in kept) <= 0.8 * limit:
        assert sum(size[number] for number in left) <= 0.8 * limit
    else:
        assert set(left) == kept


# Builds side by side


def test_builds_that_begin_together_leave_the_reserve(world):
    world.configure(reserveBytes=100 * GIB)
    world.others = 880 * GIB
    world.add(1, size=5 * GIB, age=HOUR)
    with world.cache.building([], 9 * GIB):
        assert evicted(world) == []
        with world.cache.building([], 9 * GIB):  # alone it would fit
            assert evicted(world) == [1]


def test_what_a_build_takes_is_free_again_after_it(world):
    world.configure(reserveBytes=100 * GIB)
    world.others = 880 * GIB
    world.add(1, size=5 * GIB, age=HOUR)
    for _ in range(2):
        with world.cache.building([], 9 * GIB):
            pass
    assert evicted(world) == []


def test_what_others_are_about_to_take_refuses_nobody(world):
    world.others = 980 * GIB
    with world.cache.building([], 15 * GIB), world.cache.building([], 15 * GIB):
        pass
    with pytest.raises(StorageFull), world.cache.building([], 21 * GIB):
        pass


def test_shared_blocks_are_not_evicted_for_their_apparent_size(world):
    cache = world.new_cache(shares_blocks=True)
    world.add(1, size=2000 * GIB, age=HOUR)
    world.files.sizes[state_id(1)] = GIB
    cache.make_room("prepare_step", growth=2000 * GIB)
    with cache.building([], 2000 * GIB):
        assert evicted(world) == []
    world.configure(maxBytes=1000 * GIB)
    cache.make_room("metadata_commit")
    assert evicted(world) == [1]


# Instances


def test_an_instance_waits_for_no_wish(world):
    world.configure(reserveBytes=100 * GIB)
    world.others = 900 * GIB
    world.add(1, size=60 * GIB, age=HOUR)
    world.cache.make_room("prepare_instance", growth=30 * GIB)
    assert evicted(world) == []
    world.cache.make_room("prepare_instance", growth=70 * GIB)  # more than is free
    assert evicted(world) == [1]


# In the background


def test_many_states_go_while_nobody_waits_for_them(world):
    world.cache = world.new_cache(patience_seconds=0)
    world.configure(maxBytes=10_000, lowWatermark=0.1)
    world.configure(highWatermark=0.5)
    for number in range(60):
        world.add(number, age=HOUR + number)
    world.cache.make_room("prepare_step")
    eventually(lambda: len(world.left()) == 10, "the rest of the eviction")
    eventually(lambda: world.report.status()["last_eviction"]["usage_bytes_after"] == 1000)
    assert evicted(world) == [*reversed(range(10, 60))]


def test_what_is_needed_now_is_waited_for(world):
    world.cache = world.new_cache(patience_seconds=0)
    world.cache.stop()
    world.configure(maxBytes=6000, lowWatermark=0.1)
    for number in range(60):
        world.add(number, age=HOUR + number)
    world.cache.make_room("snapshot", growth=2500)
    assert len(world.left()) == 35  # and no more: nothing goes on after a stop


def test_an_eviction_that_goes_on_in_vain_ends(world):
    world.cache = world.new_cache(patience_seconds=0)
    world.configure(maxBytes=1000, lowWatermark=0.1)
    for number in range(10):
        world.add(number, age=HOUR + number)
    with world.leases.lease(*(state_id(number) for number in range(8))):
        world.cache.make_room("metadata_commit")
        eventually(lambda: "eviction" not in [thread.name for thread in threading.enumerate()])
    assert world.left() == [*range(8)]


# The middle states of the chain that is being prepared


def chain(world, *sizes):
    """Add a young chain of states; return their ids and that of one still to be built."""
    world.configure(minStateAge="10m")
    parents = [None, *range(1, len(sizes))]
    ids = [
        world.add(number, parent=parent, size=size, age=0)
        for number, (parent, size) in enumerate(zip(parents, sizes, strict=True), start=1)
    ]
    return [*ids, state_id(len(sizes) + 1)]


def sizes(world):
    return [state.size_bytes for state in world.store.states.find(StateFilter())]


def test_middle_states_go_before_a_step_is_refused(world):
    ids = chain(world, 100, 100, 100, 100)
    world.configure(maxBytes=550)
    world.cache.make_room("snapshot", ids, 100)
    assert evicted(world) == []
    world.cache.make_room("snapshot", ids, 240)
    assert evicted(world) == [3]
    assert (world.left(), sizes(world)) == ([1, 2, 3, 4], [100, 100, 0, 100])
    world.cache.make_room("snapshot", ids, 340)
    assert evicted(world) == [3, 2]
    last = world.report.status()["last_eviction"]
    assert (last["trigger"], last["evicted_count"], last["freed_bytes"]) == ("snapshot", 1, 100)


def test_what_can_be_evicted_goes_before_middle_states(world):
    ids = chain(world, 100, 100, 100)
    world.add(9)
    world.configure(maxBytes=450)
    world.cache.make_room("prepare_step", ids, 100)
    assert evicted(world) == [9]


def test_middle_states_in_use_stay(world, monkeypatch):
    ids = chain(world, 100, 100, 100, 100, 100)
    world.create(ids[1])
    world.configure(maxBytes=600)
    with world.leases.lease(ids[0]):
        with world.leases.lease(ids[2]) as lease, ThreadPoolExecutor() as pool:
            making = pool.submit(world.cache.make_room, "prepare_step", ids, 250)
            eventually(lambda: evicted(world) == [4], "the state before the last")
            lease.release(ids[2])  # a job that has waited for the same state goes on
            making.result()
        assert evicted(world) == [4, 3]
        monkeypatch.setattr(eviction, "LEASE_PATIENCE_SECONDS", 0.1)
        with pytest.raises(CacheLimitTooSmall):
            world.cache.make_room("prepare_step", ids, 350)
    assert sizes(world) == [100, 100, 0, 0, 100]


def test_a_middle_state_to_be_retained_stays(world):
    ids = [
        world.add(1, min_retention_until=shift(world.clock.now, 1)),
        world.add(2, parent=1),
    ]
    world.configure(maxBytes=250)
    with pytest.raises(CacheLimitTooSmall):
        world.cache.make_room("prepare_step", ids, 100)
    assert evicted(world) == []


def test_middle_states_go_for_a_disk_that_is_full(world):
    ids = chain(world, 100, 100, 100)
    assert world.cache.relieve("prepare_step", FULL, ids, 150)
    assert evicted(world) == [2, 1]
    assert world.files.waits > 0
    assert not world.cache.relieve("prepare_step", FULL, ids, 150)


def test_a_middle_state_whose_files_cannot_be_removed_is_no_state(world, monkeypatch, caplog):
    ids = chain(world, 100, 100, 100)
    world.configure(maxBytes=350)

    def busy(path):
        raise OSError("busy")

    monkeypatch.setattr(world.files, "discard", busy)
    world.cache.make_room("prepare_step", ids, 100)
    assert "cannot remove" in caplog.text
    gone = world.store.states.get(ids[1])
    assert (gone.size_bytes, gone.boot_id) == (0, "damaged")


def test_a_middle_state_whose_row_cannot_be_changed_keeps_its_files(world, monkeypatch, caplog):
    ids = chain(world, 100, 100, 100)
    world.configure(maxBytes=350)

    def full(state_id):
        raise FULL

    monkeypatch.setattr(world.store.states, "set_gone", full)
    with pytest.raises(CacheLimitTooSmall):
        world.cache.make_room("prepare_step", ids, 100)
    assert "cannot drop the files" in caplog.text
    assert (evicted(world), sizes(world)) == ([], [100, 100, 100])


# Dumps


def keep(world, content, age=HOUR):
    """Keep a dump that was used ``age`` seconds ago."""
    now, world.clock.now = world.clock.now, shift(world.clock.now, -age)
    upload = world.dumps.receive()
    try:
        upload.write(content)
        dump, _ = world.dumps.keep(upload)
    finally:
        world.dumps.end(upload)
    world.clock.now = now
    return dump


def test_dumps_go_before_states_the_least_recently_used_first(world):
    world.configure(maxBytes=1000)
    for number in range(6):
        world.add(number, age=2 * HOUR + number)
    keep(world, b"x" * 99)
    keep(world, b"y" * 101, age=HOUR + 1)
    young = keep(world, b"z" * 50, age=1)
    status = world.report.status()
    assert (status["usage_bytes"], status["dump_bytes"], status["dump_count"]) == (850, 250, 3)
    assert status["reclaimable_bytes"] == 800
    world.cache.make_room("prepare_step", growth=51)
    assert (evicted(world), world.dumps.totals().size_bytes) == ([], 149)
    world.cache.make_room("prepare_step", growth=300)
    assert evicted(world) == [5, 4]
    assert world.dumps.find() == [young]
    assert world.report.status()["last_eviction"]["evicted_count"] == 3


def test_an_upload_evicts_and_is_refused_when_that_is_not_enough(world):
    world.configure(maxBytes=1000)
    world.add(1, size=800)
    dump = keep(world, b"x" * 500, age=1)
    assert evicted(world) == [1]
    with pytest.raises(StorageFull, match=r"dump does not fit.*maxBytes.*--schema-only"):
        keep(world, b"y" * 501)
    assert world.dumps.find() == [dump]
    assert world.dumps.totals().size_bytes == 500
