"""The warm pool over fakes: what it keeps, gives away and lets go."""

import threading
from collections import Counter

import pytest
from support.instance_fakes import IMAGE, World

from sqlrs_engine.deletion import Deletion
from sqlrs_engine.errors import StorageFull, Unavailable
from sqlrs_engine.instances.pool import pool as pool_module
from sqlrs_engine.instances.pool.pool import QUIET
from sqlrs_engine.store import InstanceFilter


class Now:
    """Seconds that pass when told to."""

    seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def pool(world, monkeypatch):
    """The world's pool, open, but tended by the test and filled in its thread."""
    pool = world.instances.pool
    monkeypatch.setattr(pool, "_now", Now())
    monkeypatch.setattr(pool, "_spawn", lambda work: work())
    pool._shelf.open()
    return pool


def tend(pool):
    """Tend until nothing changes any more, after the quiet time."""
    pool._now.seconds += 2 * QUIET
    before = None
    while before != (before := [id(each) for each in pool.standbys()]):
        pool.tend()


def ask(pool, state, times=1):
    for _ in range(times):
        pool.asked(state)
    tend(pool)


def kept(pool):
    return Counter(each.ready.state_id for each in pool.standbys())


def containers(world):
    root = world.files.root / "instances"
    return len(list(root.iterdir())) if root.exists() else 0


def check(world, pool):
    """Standbys and instances are all there is."""
    known = len(pool.standbys()) + len(world.store.instances.find(InstanceFilter()))
    assert len(world.running()) == containers(world) == known
    held = world.instances._deps.ports._reserved
    assert held == {each.ready.port for each in pool.standbys()}


def test_after_an_instance_there_is_a_standby(world, pool):
    state = world.add_state()
    world.instances.create(state)
    assert kept(pool) == {}
    tend(pool)
    assert kept(pool) == {state: 1}
    check(world, pool)


def test_a_standby_becomes_the_next_instance(world, pool):
    state = world.add_state(7)
    world.instances.create(state)
    tend(pool)
    [standby] = pool.standbys()
    assert standby.ready.server.starts == 1
    world.clock.advance(100)
    instance = world.instances.create(state, name="dev", ttl=50, made_for="a job")
    assert instance.instance_id == standby.ready.instance_id
    server = world.server_of(instance)
    assert (server.starts, server.content, server.password) == (1, "state 7", instance.password)
    assert instance.created_at == instance.activity_at == world.clock()
    assert (instance.name, instance.ttl, instance.made_for) == ("dev", 50, "a job")
    assert world.store.instances.get(instance.instance_id) == instance
    assert world.store.states.get(state).use_count == 2
    assert kept(pool) == {}
    check(world, pool)


def test_its_making_is_no_use_of_it(world, pool):
    state = world.add_state()
    world.instances.create(state, ttl=10)
    tend(pool)
    instance = world.instances.create(state, ttl=10)
    world.clock.advance(11)
    assert instance.instance_id in world.instances.reap()


def test_whoever_uses_it_is_noticed(world, pool):
    state = world.add_state()
    world.instances.create(state)
    tend(pool)
    instance = world.instances.create(state, ttl=10)
    world.server_of(instance).use()
    world.clock.advance(11)
    assert instance.instance_id not in world.instances.reap()


def test_standbys_are_no_instances(world, pool):
    state = world.add_state()
    world.config.set("instances.maxRunning", 2)
    instance = world.instances.create(state)
    ask(pool, state, times=5)
    assert world.store.instances.find(InstanceFilter()) == [instance]
    assert world.store.states.get(state).refcount == 1
    world.instances.create(state)
    with pytest.raises(Unavailable, match="maxRunning"):
        world.instances.create(state)
    check(world, pool)


def test_the_more_a_state_is_asked_for_the_more_there_are(world, pool):
    often, seldom = world.add_state(1), world.add_state(2)
    ask(pool, seldom)
    ask(pool, often, times=3)
    assert kept(pool) == {often: 3, seldom: 1}
    ask(pool, often, times=100)
    assert kept(pool) == {often: 7, seldom: 1}
    check(world, pool)


def test_a_newcomer_gets_the_place_of_a_surplus(world, pool):
    first, second = world.add_state(1), world.add_state(2)
    ask(pool, first, times=100)
    assert kept(pool) == {first: 8}
    pool._now.seconds += 60
    ask(pool, second)
    assert kept(pool) == {first: 7, second: 1}
    check(world, pool)


def test_what_nobody_asks_for_any_more_goes(world, pool):
    state = world.add_state()
    ask(pool, state, times=3)
    pool._now.seconds += 595
    tend(pool)
    assert kept(pool) == {state: 3}
    pool._now.seconds += 6
    assert pool.tend() is None
    assert kept(pool) == {}
    check(world, pool)


def test_right_after_a_request_all_is_quiet(world, pool):
    pool.asked(world.add_state())
    assert 0 < pool.tend() <= QUIET
    assert kept(pool) == {}
    pool._now.seconds += QUIET
    pool.tend()
    assert kept(pool).total() == 1


def test_but_not_for_ever(world, pool):
    state = world.add_state()
    for _ in range(100):
        pool.asked(state)
        pool.tend()
        if kept(pool):
            break
        pool._now.seconds += QUIET / 2
    assert kept(pool)


def test_no_standby_is_made_while_somebody_waits_for_a_clone(world, pool):
    with pool._turns.turn():
        ask(pool, world.add_state())
        assert kept(pool) == {}
        pool._wake.clear()
    assert pool._wake.is_set()
    tend(pool)
    assert kept(pool).total() == 1


@pytest.mark.parametrize(
    ("path", "value", "left"),
    [
        ("pool.enabled", False, 0),
        ("pool.maxStandbys", 2, 2),
        ("pool.maxStandbys", 0, 0),
        ("pool.maxMemory", 35, 3),
        ("pool.maxMemory", 0, 0),
        ("pool.reserveMemory", 1001, 0),
        ("pool.reserveMemory", 999, 5),
        ("pool", {"maxStandbys": 1}, 1),
        ("postgres.settings", {"work_mem": "8MB"}, 5),
    ],
)
def test_a_change_of_the_configuration_counts_at_once(world, pool, path, value, left):
    state = world.add_state()
    ask(pool, state, times=5)
    assert kept(pool).total() == 5
    pool._wake.clear()
    world.config.set(path, value)
    assert pool._wake.is_set()
    tend(pool)
    assert kept(pool).total() == left
    check(world, pool)


def test_a_standby_of_other_settings_is_not_handed_over(world, pool):
    state = world.add_state()
    ask(pool, state, times=2)
    old = {each.ready.instance_id for each in pool.standbys()}
    world.config.set("postgres.settings", {"work_mem": "8MB"})
    assert world.instances.create(state).instance_id not in old
    assert kept(pool) == {}
    check(world, pool)


def test_nor_one_with_a_port_outside_the_range(world, pool):
    state = world.add_state()
    ask(pool, state)
    port = pool.standbys()[0].ready.port
    world.instances._deps.ports._bounds = lambda: (port + 1, port + 10)
    assert world.instances.create(state).port != port
    check(world, pool)


def test_nor_one_that_died(world, pool):
    state = world.add_state()
    ask(pool, state, times=2)
    first, second = (each.ready for each in pool.standbys())
    first.server.crash()
    assert world.instances.create(state).instance_id == second.instance_id
    check(world, pool)


def test_nor_one_while_the_pool_is_off(world, pool):
    state = world.add_state()
    ask(pool, state)
    standby = pool.standbys()[0].ready.instance_id
    world.config.set("pool.enabled", False)
    assert world.instances.create(state).instance_id != standby
    tend(pool)
    check(world, pool)


def test_a_dead_standby_is_replaced(world, pool):
    state = world.add_state()
    ask(pool, state)
    [dead] = pool.standbys()
    dead.ready.server.crash()
    tend(pool)
    [fresh] = pool.standbys()
    assert fresh is not dead
    check(world, pool)


def test_low_memory_drops_them_all(world, pool):
    state = world.add_state()
    ask(pool, state, times=3)
    world.memory.available = 99
    tend(pool)
    assert kept(pool) == {}
    world.memory.available = 100
    tend(pool)
    assert kept(pool) == {state: 3}


def test_a_disk_without_room_gets_none(world, pool):
    world.room.enough = False
    ask(pool, world.add_state())
    assert kept(pool) == {}
    check(world, pool)


@pytest.mark.parametrize("fault", ["start", "clone", "image", "surprise"])
def test_a_state_of_which_none_can_be_made_is_left_alone(world, pool, monkeypatch, fault):
    state = world.add_state()
    world.fail_start = fault == "start"
    world.files.fail_clone = fault == "clone"
    if fault == "image":
        world.unreachable_images.add(IMAGE)
    if fault == "surprise":
        monkeypatch.setattr(world.memory, "server", lambda pid: 1 / 0)
    ask(pool, state)
    assert kept(pool) == {}
    assert pool.tend() is None
    check(world, pool)


def test_without_a_thread_none_is_made(world, pool, monkeypatch):
    state = world.add_state()

    def no_thread(work):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_spawn", no_thread)
        with pytest.raises(RuntimeError):
            ask(pool, state)
    assert pool._shelf.being_made() == 0
    tend(pool)
    assert kept(pool) == {state: 1}


def test_a_deleted_state_takes_its_standbys_with_it(world, pool):
    gone, stays = world.add_state(1), world.add_state(2)
    ask(pool, gone, times=3)
    ask(pool, stays)
    deletion = Deletion(world.store, world.instances, world.leases, world.files)
    assert deletion.state(gone, dry_run=True).outcome == "would_delete"
    assert kept(pool).total() == 4
    assert deletion.state(gone).outcome == "deleted"
    assert kept(pool) == {stays: 1}
    tend(pool)
    assert kept(pool) == {stays: 1}
    check(world, pool)


def test_a_state_is_deleted_while_a_standby_of_it_is_made(world, pool, monkeypatch):
    """The deletion waits for the clone, and nothing of it stays."""
    state, cloning, go_on = world.add_state(), threading.Event(), threading.Event()
    clone = world.files.clone

    def slow(source, target):
        cloning.set()
        assert go_on.wait(30)
        assert source.is_dir()
        clone(source, target)

    monkeypatch.setattr(world.files, "clone", slow)
    monkeypatch.setattr(pool, "_spawn", pool_module.in_thread)
    ask(pool, state)
    assert cloning.wait(30)
    deletion = Deletion(world.store, world.instances, world.leases, world.files)
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(deletion.state(state).outcome))
    thread.start()
    while not pool._shelf._fillings[0].cancelled:
        cloning.wait(0.01)
    assert world.store.states.get(state)
    go_on.set()
    thread.join(30)
    assert outcome == ["deleted"]
    assert pool._shelf.wait_settled(30)
    check(world, pool)


def test_a_standby_being_made_is_waited_for(world, pool, monkeypatch):
    state, cloning, go_on = world.add_state(), threading.Event(), threading.Event()
    clone = world.files.clone

    def slow(source, target):
        cloning.set()
        assert go_on.wait(30)
        clone(source, target)

    monkeypatch.setattr(world.files, "clone", slow)
    monkeypatch.setattr(pool, "_spawn", pool_module.in_thread)
    ask(pool, state)
    assert cloning.wait(30)
    [filling] = pool._shelf._fillings
    made = []
    thread = threading.Thread(target=lambda: made.append(world.instances.create(state)))
    thread.start()
    while not filling.claimed:
        cloning.wait(0.01)
    assert pool._shelf.held() == {}
    go_on.set()
    thread.join(30)
    [instance] = made
    assert world.server_of(instance).starts == 1
    assert world.running() == [world.server_of(instance)]


def test_and_when_it_fails_another_is_made(world, pool, monkeypatch):
    state, cloning, go_on = world.add_state(), threading.Event(), threading.Event()
    clone, first = world.files.clone, []

    def fails_once(source, target):
        if first:
            clone(source, target)
            return
        first.append(target)
        cloning.set()
        assert go_on.wait(30)
        raise OSError("broken")

    monkeypatch.setattr(world.files, "clone", fails_once)
    monkeypatch.setattr(pool, "_spawn", pool_module.in_thread)
    ask(pool, state)
    assert cloning.wait(30)
    [filling] = pool._shelf._fillings
    made = []
    thread = threading.Thread(target=lambda: made.append(world.instances.create(state)))
    thread.start()
    while not filling.claimed:
        cloning.wait(0.01)
    go_on.set()
    thread.join(30)
    assert world.server_of(made[0]).running


def test_each_is_handed_out_once(world, pool):
    state = world.add_state()
    ask(pool, state, times=8)
    standbys = {each.ready.instance_id for each in pool.standbys()}
    assert len(standbys) == 8
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(world.instances.create(state)))
        for _ in range(12)
    ]
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
    ask(pool, state)
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
            world.instances.create(state, name="dev")
    assert kept(pool) == {}
    check(world, pool)


def test_a_full_disk_is_relieved_of_standbys(world, pool, monkeypatch):
    wanted, other = world.add_state(1), world.add_state(2)
    ask(pool, other, times=2)
    clone = world.files.clone

    def full(source, target):
        if pool.standbys():
            raise StorageFull("full")
        clone(source, target)

    monkeypatch.setattr(world.files, "clone", full)
    assert world.server_of(world.instances.create(wanted)).running
    check(world, pool)


def test_without_standbys_a_full_disk_is_one(world, pool, monkeypatch):
    def full(source, target):
        raise StorageFull("full")

    monkeypatch.setattr(world.files, "clone", full)
    with pytest.raises(StorageFull):
        world.instances.create(world.add_state())
    assert not pool.give_up()


def test_standbys_leave_the_last_port_to_others(world, pool):
    wanted, other = world.add_state(1), world.add_state(2)
    world.instances._deps.ports._bounds = lambda: (20000, 20001)
    ask(pool, other, times=5)
    assert len(pool.standbys()) == 2
    world.instances.create(wanted)
    world.instances.create(wanted)
    with pytest.raises(Unavailable, match="no free port"):
        world.instances.create(wanted)
    check(world, pool)


def test_the_next_engine_removes_them(world, pool, caplog):
    state = world.add_state()
    instance = world.instances.create(state)
    ask(pool, state, times=3)
    assert len(world.running()) > 1
    world.restart_engine()
    world.instances.recover()
    assert world.running() == [world.server_of(instance)]
    assert containers(world) == 1
    assert "unknown instance" in caplog.text


def test_its_end_leaves_nothing(world, pool):
    state = world.add_state()
    ask(pool, state, times=3)
    pool.stop()
    check(world, pool)
    assert world.running() == []
    ask(pool, state)
    assert world.running() == []
    assert world.server_of(world.instances.create(state)).running


def test_an_end_while_one_is_made(world, pool, monkeypatch):
    cloning, go_on = threading.Event(), threading.Event()
    clone = world.files.clone

    def slow(source, target):
        cloning.set()
        assert go_on.wait(30)
        clone(source, target)

    monkeypatch.setattr(world.files, "clone", slow)
    monkeypatch.setattr(pool, "_spawn", pool_module.in_thread)
    ask(pool, world.add_state())
    assert cloning.wait(30)
    stopping = threading.Thread(target=pool.stop)
    stopping.start()
    while not pool._shelf._fillings[0].cancelled:
        cloning.wait(0.01)
    go_on.set()
    stopping.join(30)
    assert world.running() == []
    assert containers(world) == 0


def test_it_keeps_itself(world):
    """With its thread and the true time."""
    state, pool = world.add_state(), world.instances.pool
    pool.start()
    pool.start()
    world.instances.create(state)
    tick = threading.Event()
    for _ in range(2000):
        if pool.standbys():
            break
        tick.wait(0.005)
    assert kept(pool) == {state: 1}
    pool.stop()
    assert len(world.running()) == 1
    pool.start()
    assert pool._shelf.begin(state) is None


def test_a_pool_that_cannot_be_tended_tries_again(world, monkeypatch, caplog):
    pool, tries = world.instances.pool, []
    again = threading.Event()

    def fail():
        tries.append(1)
        if len(tries) == 2:
            again.set()
        raise ZeroDivisionError

    monkeypatch.setattr(pool, "tend", fail)
    monkeypatch.setattr(pool_module, "LOOK_EVERY", 0.001)
    pool.start()
    assert again.wait(30)
    pool.stop()
    assert "cannot tend" in caplog.text


def test_the_counters_tell_hits_from_misses(world, pool):
    state = world.add_state()
    world.instances.create(state)
    tend(pool)
    world.instances.create(state)
    world.config.set("pool.enabled", False)
    world.instances.create(state)
    text = world.instances._deps.metrics.render().decode()
    assert 'sqlrs_pool_requests_total{result="miss"} 1.0' in text
    assert 'sqlrs_pool_requests_total{result="hit"} 1.0' in text


def test_without_knowing_the_machine_there_is_enough_memory(world, pool, monkeypatch):
    monkeypatch.setattr(world.memory, "machine", lambda: None)
    ask(pool, world.add_state())
    assert kept(pool).total() == 1


def test_everything_at_once(world, monkeypatch):
    """Hand-overs, deletions, settings that change: every clone ends up as one thing or gone."""
    monkeypatch.setattr(pool_module, "QUIET", 0.0)
    pool = world.instances.pool
    states = [world.add_state(number) for number in range(1, 4)]
    deletion = Deletion(world.store, world.instances, world.leases, world.files)
    pool.start()
    seen, failures = [], []

    def use(number):
        try:
            for round_number in range(12):
                state = states[(number + round_number) % 2]
                instance = world.instances.create(state, made_for=f"{number} {round_number}")
                seen.append(instance.instance_id)
                if round_number % 3:
                    world.instances.remove(instance.instance_id)
        except BaseException as error:
            failures.append(error)

    def disturb():
        for size in ("1MB", "2MB", "3MB", "4MB"):
            world.config.set("postgres.settings", {"work_mem": size})
            pool.asked(states[2])
            pool.give_up()
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
