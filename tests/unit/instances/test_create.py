"""Creating instances."""

import threading

import pytest
from support.instance_fakes import IMAGE, state_id

from sqlrs_engine.clock import shift
from sqlrs_engine.errors import (
    ClusterFailed,
    Conflict,
    IdempotencyKeyReused,
    ImageUnavailable,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from sqlrs_engine.ids import is_instance_id
from sqlrs_engine.store import InstanceFilter

DAY = 24 * 3600


def test_a_new_instance_runs_with_the_content_of_its_state(world):
    instance = world.create(world.add_state(7))
    server = world.server_of(instance)
    assert server.running
    assert server.content == "state 7"
    assert instance.runtime_id == server.running.runtime_id
    assert is_instance_id(instance.instance_id)
    assert world.store.instances.get(instance.instance_id) == instance


def test_its_password_is_random_and_set(world):
    state = world.add_state()
    first, second = world.create(state), world.create(state)
    assert world.server_of(first).password == first.password
    assert len(first.password) >= 32
    assert first.password != second.password
    assert first.dsn.startswith(f"postgres://sqlrs:{first.password}@127.0.0.1:{first.port}/")


def test_a_state_proves_itself_by_its_first_instance(world):
    state = world.add_state()
    world.fail_login = True
    with pytest.raises(ClusterFailed, match="log in"):
        world.create(state)
    assert world.is_empty()
    assert not world.store.states.get(state).proven
    world.fail_login = False
    logins = [world.server_of(world.create(state)).logins for _ in range(2)]
    assert logins == [1, 0]
    assert world.store.states.get(state).proven


def test_instances_have_ports_of_their_own(world):
    state = world.add_state()
    ports = {world.create(state).port for _ in range(20)}
    assert len(ports) == 20
    assert all(20000 <= port <= 20999 for port in ports)


def test_a_port_taken_at_the_last_moment_is_replaced(world):
    world.listening = {20000}
    world.foreign_ports = {20000, 20001, 20002}
    assert world.create(world.add_state()).port == 20003


def test_it_gives_up_when_every_port_proves_taken(world):
    world.foreign_ports = set(range(20000, 21000))
    with pytest.raises(ClusterFailed):
        world.create(world.add_state())
    assert world.is_empty()


def test_its_state_counts_one_more_use(world):
    state = world.add_state()
    world.create(state)
    after = world.store.states.get(state)
    assert (after.use_count, after.last_used_at, after.refcount) == (1, world.clock(), 1)


def test_it_lives_for_the_configured_time(world):
    state = world.add_state()
    assert world.create(state).expires_at == shift(world.clock(), DAY)
    world.config.set("instances.ttl", "10m")
    assert world.create(state).expires_at == shift(world.clock(), 600)
    assert world.create(state, ttl=5).expires_at == shift(world.clock(), 5)


@pytest.mark.parametrize("options", [{"ttl": 0}, {"protected": True}, {"name": "dev"}])
def test_it_need_not_expire(world, options):
    assert world.create(world.add_state(), **options).expires_at is None


@pytest.mark.parametrize("options", [{"protected": True}, {"name": "dev"}])
def test_a_time_to_live_of_its_own_counts_for_named_and_protected_ones(world, options):
    instance = world.create(world.add_state(), ttl=60, **options)
    assert instance.expires_at == shift(world.clock(), 60)


def test_it_can_have_a_name_at_once(world):
    instance = world.create(world.add_state(), name="dev")
    assert (instance.name, instance.status) == ("dev", "active")
    assert world.registry.instance("dev") == (instance, True)


def test_a_name_of_a_living_instance_is_refused(world):
    state = world.add_state()
    first = world.create(state, name="dev")
    with pytest.raises(Conflict, match=first.instance_id):
        world.create(state, name="dev")
    assert len(world.store.instances.find(InstanceFilter())) == 1
    world.instances.removal.remove(first.instance_id)
    assert world.create(state, name="dev").name == "dev"


@pytest.mark.parametrize("name", ["ab" * 16, "AB" * 16, "", "a/b", "-a", "a" * 64, "a\n", "ä"])
def test_a_bad_name_is_refused(world, name):
    with pytest.raises(InvalidArgument):
        world.create(world.add_state(), name=name)
    assert world.is_empty()


@pytest.mark.parametrize("ttl", [-1, 1e12, float("nan")])
def test_a_bad_time_to_live_is_refused(world, ttl):
    with pytest.raises(InvalidArgument):
        world.create(world.add_state(), ttl=ttl)


def test_without_its_state_it_cannot_be(world):
    with pytest.raises(NotFound):
        world.create(state_id(404))
    state = world.add_state()
    world.files.discard(world.files.state_dir(IMAGE, state))
    with pytest.raises(NotFound, match="files are missing or damaged"):
        world.create(state)


def test_without_its_postgresql_it_cannot_be(world):
    state = world.add_state()
    world.unreachable_images.add(IMAGE)
    with pytest.raises(ImageUnavailable):
        world.create(state)
    world.unreachable_images.clear()
    assert world.is_empty()


@pytest.mark.parametrize("fault", ["fail_start", "fail_password", "clone", "name"])
def test_a_failure_leaves_nothing(world, monkeypatch, fault):
    state = world.add_state()
    world.files.fail_clone = fault == "clone"
    world.fail_start = fault == "fail_start"
    world.fail_password = fault == "fail_password"
    if fault == "name":

        def taken(name, instance):
            raise Conflict("the name is taken", name)

        monkeypatch.setattr(world.registry, "claim", taken)
    with pytest.raises((ClusterFailed, OSError, Conflict)):
        world.create(state, name="dev")
    assert world.is_empty()
    assert world.store.states.get(state).use_count == 0


def test_what_it_is_made_for_makes_the_call_repeatable(world):
    state = world.add_state()
    first = world.create(state, made_for="a job")
    world.server_of(first).crash()
    again = world.create(state, made_for="a job")
    assert (again.instance_id, again.port) == (first.instance_id, first.port)
    assert world.server_of(again).running
    assert world.create(state, made_for="another").instance_id != first.instance_id
    with pytest.raises(Conflict):
        world.create(world.add_state(2), made_for="a job")


def test_a_call_that_asks_for_something_else_is_no_repetition(world):
    state = world.add_state()
    first = world.create(state, made_for="request 1", request_digest="ab")
    again = world.create(state, made_for="request 1", request_digest="ab")
    assert again.instance_id == first.instance_id
    with pytest.raises(IdempotencyKeyReused):
        world.create(state, made_for="request 1", request_digest="cd")
    other = world.create(state, made_for="request 11", request_digest="ab")
    assert other.instance_id != first.instance_id
    world.instances.removal.remove(first.instance_id)
    anew = world.create(state, made_for="request 1", request_digest="cd")
    assert anew.instance_id not in (first.instance_id, other.instance_id)


def test_a_repeated_request_may_find_its_name_at_another_state(world):
    first = world.create(world.add_state(), made_for="request 1", request_digest="ab")
    other = world.add_state(2)
    again = world.create(other, made_for="request 1", request_digest="ab")
    assert again.instance_id == first.instance_id
    job = world.create(other, made_for="a job")
    with pytest.raises(Conflict, match="another state"):
        world.create(first.state_id, made_for="a job")
    assert world.store.instances.get(job.instance_id).state_id == other


def test_a_repeated_call_gives_the_name_that_was_not_given_yet(world):
    state = world.add_state()
    world.create(state, made_for="a job")
    for _ in range(2):
        assert world.create(state, made_for="a job", name="dev").name == "dev"


def test_repeated_calls_at_once_make_one(world):
    state, made = world.add_state(), []

    def make():
        made.append(world.create(state, made_for="a job").instance_id)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len(set(made)) == 1


def test_one_deleted_while_the_call_is_repeated_is_made_again(world, monkeypatch):
    state = world.add_state()
    first = world.create(state, made_for="a job")
    restart = world.instances.restart
    ensure_running = restart.ensure_running

    def deleted_first(instance_id, on_log):
        world.instances.removal.remove(instance_id)
        return ensure_running(instance_id, on_log)

    monkeypatch.setattr(restart, "ensure_running", deleted_first)
    again = world.create(state, made_for="a job")
    assert again.instance_id != first.instance_id
    assert world.server_of(again).running


def test_it_can_be_removed_by_what_it_is_made_for(world):
    world.create(world.add_state(), made_for="a job")
    assert world.instances.creation.remove_made_for("a job")
    assert world.is_empty()
    assert not world.instances.creation.remove_made_for("a job")


def test_there_may_be_a_limit(world):
    state = world.add_state()
    world.config.set("instances.maxRunning", 2)
    world.create(state)
    second = world.create(state)
    with pytest.raises(Unavailable, match="maxRunning"):
        world.create(state)
    world.instances.removal.remove(second.instance_id)
    world.create(state)


def test_many_at_once(world):
    state, made = world.add_state(), []
    threads = [threading.Thread(target=lambda: made.append(world.create(state))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({instance.port for instance in made}) == 8


def test_an_instance_gets_the_room_it_needs(world, instance):
    given = []

    def relief(size):
        given.append(size)
        world.fail_start = world.disk_budget.full = len(given) < 2
        return True

    world.fail_start = world.disk_budget.full = True
    world.disk_budget.relief = relief
    made = world.create(instance.state_id)
    assert world.server_of(made).running
    assert given[1] == 4 * given[0]
