"""The warm pool over fakes: what it keeps, gives away and lets go."""

import threading
from collections import Counter

import pytest
from support.instance_fakes import IMAGE, World
from support.prepare_fakes import in_thread
from support.waiting import PATIENCE, eventually

from sqlrs_engine.errors import StorageFull, Unavailable
from sqlrs_engine.instances.pool import pool as pool_module
from sqlrs_engine.instances.pool.pool import QUIET_SECONDS
from sqlrs_engine.store import InstanceFilter


class Now:
    """Seconds that pass when told to."""

    seconds = 1000.0

    def __call__(self):
        return self.seconds


class Gate:
    """A function that waits, the first time it is called, until it is let through or fails."""

    def __init__(self, function, failure=None):
        self._function = function
        self._failure = failure
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, *arguments):
        first = not self._reached.is_set()
        self._reached.set()
        assert self._open.wait(PATIENCE)
        if first and self._failure is not None:
            raise self._failure
        return self._function(*arguments)

    def wait_reached(self):
        assert self._reached.wait(PATIENCE)

    def open(self):
        self._open.set()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def pool(world):
    """The world's pool, open, but adjusted by the test and filled in its thread."""
    world.monotonic = Now()
    world.spawn_in = lambda work: work()
    world.restart_engine()
    world.instances.pool.open()
    return world.instances.pool


def adjust(world, pool):
    """Adjust until nothing changes any more, after the quiet time."""
    world.monotonic.seconds += 2 * QUIET_SECONDS
    before = None
    while before != (before := [id(each) for each in pool.standbys()]):
        pool.adjust()


def request(world, pool, state, times=1):
    for _ in range(times):
        pool.requested(state)
    adjust(world, pool)


def kept(pool):
    return Counter(each.clone.state_id for each in pool.standbys())


def containers(world):
    root = world.files.root / "instances"
    return len(list(root.iterdir())) if root.exists() else 0


def check(world, pool):
    """Standbys and instances are all there is."""
    known = len(pool.standbys()) + len(world.store.instances.find(InstanceFilter()))
    assert len(world.running()) == containers(world) == known
    ports = {each.clone.port for each in pool.standbys()} | world.store.instances.ports()
    assert world.port_placeholders.held == ports


def test_creating_an_instance_leads_to_a_standby(world, pool):
    state = world.add_state()
    world.create(state)
    assert kept(pool) == {}
    adjust(world, pool)
    assert kept(pool) == {state: 1}
    check(world, pool)


def test_a_standby_becomes_the_next_instance(world, pool):
    state = world.add_state(7)
    world.create(state)
    adjust(world, pool)
    [standby] = pool.standbys()
    assert standby.clone.server.starts == 1
    world.clock.advance(100)
    instance = world.create(state, name="dev", ttl=50, made_for="a job")
    assert instance.instance_id == standby.clone.instance_id
    server = world.server_of(instance)
    assert (server.starts, server.content, server.password) == (1, "state 7", instance.password)
    assert instance.created_at == instance.activity_at == world.clock()
    assert (instance.name, instance.ttl, instance.made_for) == ("dev", 50, "a job")
    assert world.store.instances.get(instance.instance_id) == instance
    assert world.store.states.get(state).use_count == 2
    assert kept(pool) == {}
    check(world, pool)


def test_making_a_standby_is_no_activity_of_the_instance(world, pool):
    state = world.add_state()
    world.create(state, ttl=10)
    adjust(world, pool)
    instance = world.create(state, ttl=10)
    world.clock.advance(11)
    assert instance.instance_id in world.instances.reaper.reap()


def test_a_handed_over_standby_that_is_used_does_not_expire(world, pool):
    state = world.add_state()
    world.create(state)
    adjust(world, pool)
    instance = world.create(state, ttl=10)
    world.server_of(instance).use()
    world.clock.advance(11)
    assert instance.instance_id not in world.instances.reaper.reap()


def test_standbys_do_not_count_as_instances(world, pool):
    state = world.add_state()
    world.config.set("instances.maxRunning", 2)
    instance = world.create(state)
    request(world, pool, state, times=5)
    assert world.store.instances.find(InstanceFilter()) == [instance]
    assert world.store.states.get(state).refcount == 1
    world.create(state)
    with pytest.raises(Unavailable, match="maxRunning"):
        world.create(state)
    check(world, pool)


def test_a_state_requested_more_often_has_more_standbys(world, pool):
    often, seldom = world.add_state(1), world.add_state(2)
    request(world, pool, seldom)
    request(world, pool, often, times=3)
    assert kept(pool) == {often: 3, seldom: 1}
    request(world, pool, often, times=100)
    assert kept(pool) == {often: 7, seldom: 1}
    check(world, pool)


def test_a_newly_requested_state_replaces_surplus_standbys(world, pool):
    first, second = world.add_state(1), world.add_state(2)
    request(world, pool, first, times=100)
    assert kept(pool) == {first: 8}
    world.monotonic.seconds += 60
    request(world, pool, second)
    assert kept(pool) == {first: 7, second: 1}
    check(world, pool)


def test_standbys_of_a_state_that_is_not_requested_any_more_are_removed(world, pool):
    state = world.add_state()
    request(world, pool, state, times=3)
    world.monotonic.seconds += 595
    adjust(world, pool)
    assert kept(pool) == {state: 3}
    world.monotonic.seconds += 6
    assert pool.adjust() is None
    assert kept(pool) == {}
    check(world, pool)


def test_right_after_a_request_no_standby_is_made(world, pool):
    pool.requested(world.add_state())
    assert 0 < pool.adjust() <= QUIET_SECONDS
    assert kept(pool) == {}
    world.monotonic.seconds += QUIET_SECONDS
    pool.adjust()
    assert kept(pool).total() == 1


def test_standbys_are_made_even_if_requests_never_pause(world, pool):
    state = world.add_state()
    for _ in range(100):
        pool.requested(state)
        pool.adjust()
        if kept(pool):
            break
        world.monotonic.seconds += QUIET_SECONDS / 2
    assert kept(pool)


def test_no_standby_is_made_while_a_client_waits_for_a_clone(world, pool, monkeypatch):
    requested, wanted = world.add_state(1), world.add_state(2)
    clone = Gate(world.files.clone)
    monkeypatch.setattr(world.files, "clone", clone)
    with in_thread(lambda: world.create(wanted)):
        clone.wait_reached()
        request(world, pool, requested)
        assert kept(pool) == {}
        pool.start()
        clone.open()
    world.monotonic.seconds += 1
    eventually(lambda: kept(pool) == {requested: 1, wanted: 1}, "a standby of each state")


@pytest.mark.parametrize(
    ("path", "value", "left"),
    [
        ("pool.enabled", False, 0),
        ("pool.maxStandbys", 2, 2),
        ("pool.maxStandbys", 0, 0),
        ("pool.maxMemory", 35, 3),
        ("pool.maxMemory", 0, 0),
        ("pool.reserveMemory", 1001, 0),
        ("pool", {"maxStandbys": 1}, 1),
        ("postgres.settings", {"work_mem": "8MB"}, 5),
    ],
)
def test_a_change_of_the_configuration_counts_at_once(world, pool, monkeypatch, path, value, left):
    monkeypatch.setattr(pool_module, "CHECK_SECONDS", PATIENCE * 10)
    state = world.add_state()
    for _ in range(5):
        pool.requested(state)
    world.monotonic.seconds += 1
    pool.start()
    eventually(lambda: kept(pool).total() == 5, "five standbys")
    before = {each.clone.instance_id for each in pool.standbys()}
    world.config.set(path, value)

    def changed():
        standbys = {each.clone.instance_id for each in pool.standbys()}
        return len(standbys) == left and standbys != before

    eventually(changed, f"{left} standbys")
    pool.stop()
    assert world.running() == []


def test_a_standby_of_other_settings_is_not_handed_over(world, pool):
    state = world.add_state()
    request(world, pool, state, times=2)
    old = {each.clone.instance_id for each in pool.standbys()}
    world.config.set("postgres.settings", {"work_mem": "8MB"})
    assert world.create(state).instance_id not in old
    assert kept(pool) == {}
    check(world, pool)


def test_a_standby_with_a_port_outside_the_range_is_not_handed_over(world, pool):
    state = world.add_state()
    request(world, pool, state)
    port = pool.standbys()[0].clone.port
    world.port_range = (port + 1, port + 10)
    assert world.create(state).port != port
    check(world, pool)


def test_a_standby_that_died_is_not_handed_over(world, pool):
    state = world.add_state()
    request(world, pool, state, times=2)
    first, second = (each.clone for each in pool.standbys())
    first.server.crash()
    assert world.create(state).instance_id == second.instance_id
    check(world, pool)


def test_no_standby_is_handed_over_while_the_pool_is_off(world, pool):
    state = world.add_state()
    request(world, pool, state)
    standby = pool.standbys()[0].clone.instance_id
    world.config.set("pool.enabled", False)
    assert world.create(state).instance_id != standby
    adjust(world, pool)
    check(world, pool)


def test_a_dead_standby_is_replaced(world, pool):
    state = world.add_state()
    request(world, pool, state)
    [dead] = pool.standbys()
    dead.clone.server.crash()
    adjust(world, pool)
    [fresh] = pool.standbys()
    assert fresh is not dead
    check(world, pool)


def test_low_memory_removes_all_standbys(world, pool):
    state = world.add_state()
    request(world, pool, state, times=3)
    world.memory.available = 99
    adjust(world, pool)
    assert kept(pool) == {}
    world.memory.available = 100
    adjust(world, pool)
    assert kept(pool) == {state: 3}


def test_a_disk_without_room_gets_no_standbys(world, pool):
    world.disk_budget.enough = False
    request(world, pool, world.add_state())
    assert kept(pool) == {}
    check(world, pool)


@pytest.mark.parametrize("fault", ["start", "clone", "image", "surprise"])
def test_a_state_of_which_no_standby_can_be_made_is_forgotten(world, pool, monkeypatch, fault):
    state = world.add_state()
    world.fail_start = fault == "start"
    world.files.fail_clone = fault == "clone"
    if fault == "image":
        world.unreachable_images.add(IMAGE)
    if fault == "surprise":
        monkeypatch.setattr(world.memory, "server", lambda pid: 1 / 0)
    request(world, pool, state)
    assert kept(pool) == {}
    assert pool.adjust() is None
    check(world, pool)


def test_without_a_thread_no_standby_is_made(world, pool):
    state = world.add_state()

    inline = world.spawn_in

    def no_thread(work):
        raise RuntimeError("can't start new thread")

    world.spawn_in = no_thread
    with pytest.raises(RuntimeError):
        request(world, pool, state)
    assert pool.being_made() == 0
    world.spawn_in = inline
    adjust(world, pool)
    assert kept(pool) == {state: 1}


def test_a_deleted_state_takes_its_standbys_with_it(world, pool):
    gone, stays = world.add_state(1), world.add_state(2)
    request(world, pool, gone, times=3)
    request(world, pool, stays)
    deletion = world.deletion
    assert deletion.state(gone, dry_run=True).outcome == "would_delete"
    assert kept(pool).total() == 4
    assert deletion.state(gone).outcome == "deleted"
    assert kept(pool) == {stays: 1}
    adjust(world, pool)
    assert kept(pool) == {stays: 1}
    check(world, pool)


def test_deleting_a_state_waits_for_the_clone_that_is_being_made(world, pool, monkeypatch):
    state, outcome, retiring = world.add_state(), [], threading.Event()
    source = world.files.state_dir(IMAGE, state)
    clone = Gate(world.files.clone)
    monkeypatch.setattr(world.files, "clone", clone)
    world.spawn_in = pool_module.in_thread
    world.leases.on_retire(lambda state_ids: retiring.set())  # called after the pool is
    request(world, pool, state)
    clone.wait_reached()
    with in_thread(lambda: outcome.append(world.deletion.state(state).outcome)):
        assert retiring.wait(PATIENCE)
        assert world.store.states.get(state)
        assert source.is_dir()
        clone.open()
    assert outcome == ["deleted"]
    eventually(lambda: pool.being_made() == 0, "the end of the standby")
    check(world, pool)


def test_a_client_waits_for_the_standby_that_is_being_made(world, pool, monkeypatch):
    state, made = world.add_state(), []
    clone = Gate(world.files.clone)
    monkeypatch.setattr(world.files, "clone", clone)
    world.spawn_in = pool_module.in_thread
    request(world, pool, state)
    clone.wait_reached()
    with in_thread(lambda: made.append(world.create(state))):
        clone.open()
    [instance] = made
    assert world.server_of(instance).starts == 1
    assert world.running() == [world.server_of(instance)]


def test_a_client_gets_another_clone_when_the_standby_cannot_be_made(world, pool, monkeypatch):
    state, made = world.add_state(), []
    clone = Gate(world.files.clone, OSError("broken"))
    monkeypatch.setattr(world.files, "clone", clone)
    world.spawn_in = pool_module.in_thread
    request(world, pool, state)
    clone.wait_reached()
    with in_thread(lambda: made.append(world.create(state))):
        clone.open()
    assert world.server_of(made[0]).running


def test_each_standby_is_handed_over_once(world, pool):
    state = world.add_state()
    request(world, pool, state, times=8)
    standbys = {each.clone.instance_id for each in pool.standbys()}
    assert len(standbys) == 8
    made = []
    threads = [threading.Thread(target=lambda: made.append(world.create(state))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    ids = [instance.instance_id for instance in made]
    assert len(set(ids)) == 12
    assert standbys < set(ids)
    assert len({instance.port for instance in made}) == 12
    check(world, pool)


@pytest.mark.parametrize("fault", ["row", "name", "touch"])
def test_a_hand_over_that_fails_leaves_nothing(world, pool, monkeypatch, fault):
    state = world.add_state()
    request(world, pool, state)
    target, method = {
        "row": (world.store.instances, "add"),
        "name": (world.registry, "claim"),
        "touch": (world.store.states, "touch"),
    }[fault]

    def fail(*_args):
        raise StorageFull("full")

    with monkeypatch.context() as patch:
        patch.setattr(target, method, fail)
        with pytest.raises(StorageFull):
            world.create(state, name="dev")
    assert kept(pool) == {}
    check(world, pool)


def test_a_full_disk_is_relieved_of_standbys(world, pool, monkeypatch):
    wanted, other = world.add_state(1), world.add_state(2)
    request(world, pool, other, times=2)
    clone = world.files.clone

    def full(source, target):
        if pool.standbys():
            raise StorageFull("full")
        clone(source, target)

    monkeypatch.setattr(world.files, "clone", full)
    assert world.server_of(world.create(wanted)).running
    check(world, pool)


def test_without_standbys_a_full_disk_is_reported(world, pool, monkeypatch):
    def full(source, target):
        raise StorageFull("full")

    monkeypatch.setattr(world.files, "clone", full)
    with pytest.raises(StorageFull):
        world.create(world.add_state())
    assert not pool.release_all()


def test_standbys_leave_the_last_port_to_others(world, pool):
    wanted, other = world.add_state(1), world.add_state(2)
    world.port_range = (20000, 20001)
    request(world, pool, other, times=5)
    assert len(pool.standbys()) == 2
    world.create(wanted)
    world.create(wanted)
    with pytest.raises(Unavailable, match="no free port"):
        world.create(wanted)
    check(world, pool)


def test_the_next_engine_removes_the_standbys_of_one_that_was_killed(world, pool, caplog):
    state = world.add_state()
    instance = world.create(state)
    request(world, pool, state, times=3)
    assert len(world.running()) > 1
    world.restart_engine()
    world.instances.recovery.run()
    assert world.running() == [world.server_of(instance)]
    assert containers(world) == 1
    assert "unknown instance" in caplog.text


def test_a_stopped_pool_has_no_standbys(world, pool):
    state = world.add_state()
    request(world, pool, state, times=3)
    pool.stop()
    check(world, pool)
    assert world.running() == []
    request(world, pool, state)
    assert world.running() == []
    assert world.server_of(world.create(state)).running


def test_a_standby_that_is_being_made_when_the_pool_stops_is_removed(world, pool, monkeypatch):
    clone = Gate(world.files.clone)
    monkeypatch.setattr(world.files, "clone", clone)
    world.spawn_in = pool_module.in_thread
    request(world, pool, world.add_state())
    clone.wait_reached()
    with in_thread(pool.stop):
        clone.open()
    assert world.running() == []
    assert containers(world) == 0


def test_the_pool_adjusts_itself_in_the_background_until_it_stops(world):
    state, pool = world.add_state(), world.instances.pool
    pool.start()
    pool.start()
    world.create(state)
    eventually(lambda: kept(pool) == {state: 1}, "a standby")
    pool.stop()
    assert len(world.running()) == 1
    pool.start()
    pool.requested(state)
    pool.adjust()
    assert pool.being_made() == 0
    assert len(world.running()) == 1


def test_the_pool_tries_again_when_adjusting_fails(world, monkeypatch, caplog):
    pool, tries = world.instances.pool, []
    again = threading.Event()

    def fail():
        tries.append(1)
        if len(tries) == 2:
            again.set()
        raise ZeroDivisionError

    monkeypatch.setattr(pool, "adjust", fail)
    monkeypatch.setattr(pool_module, "CHECK_SECONDS", 0.001)
    pool.start()
    assert again.wait(30)
    pool.stop()
    assert "cannot adjust" in caplog.text


def test_the_counters_tell_hits_from_misses(world, pool):
    state = world.add_state()
    world.create(state)
    adjust(world, pool)
    world.create(state)
    world.config.set("pool.enabled", False)
    world.create(state)
    text = world.metrics.render().decode()
    assert 'sqlrs_pool_requests_total{result="miss"} 1.0' in text
    assert 'sqlrs_pool_requests_total{result="hit"} 1.0' in text


def test_without_knowing_the_machine_there_is_enough_memory(world, pool, monkeypatch):
    monkeypatch.setattr(world.memory, "machine", lambda: None)
    request(world, pool, world.add_state())
    assert kept(pool).total() == 1


def test_hand_overs_deletions_and_changes_of_settings_at_the_same_time(world, monkeypatch):
    """Hand-overs, deletions, settings that change: every clone ends up as one thing or gone."""
    monkeypatch.setattr(pool_module, "QUIET_SECONDS", 0.0)
    pool = world.instances.pool
    states = [world.add_state(number) for number in range(1, 4)]
    deletion = world.deletion
    pool.start()
    seen, failures = [], []

    def use(number):
        try:
            for round_number in range(12):
                state = states[(number + round_number) % 2]
                instance = world.create(state, made_for=f"{number} {round_number}")
                seen.append(instance.instance_id)
                if round_number % 3:
                    world.instances.removal.remove(instance.instance_id)
        except BaseException as error:
            failures.append(error)

    def disturb():
        for size in ("1MB", "2MB", "3MB", "4MB"):
            world.config.set("postgres.settings", {"work_mem": size})
            pool.requested(states[2])
            pool.release_all()
        deletion.state(states[2])

    threads = [threading.Thread(target=use, args=[number]) for number in range(6)]
    threads.append(threading.Thread(target=disturb))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(set(seen)) == len(seen) == 72
    assert world.store.states.get(states[2]) is None
    pool.stop()
    assert len(world.store.instances.find(InstanceFilter())) == 24
    check(world, pool)
