"""Expiry: what counts as use, and what changes the deadline."""

import pytest

from sqlrs_engine.clock import shift
from sqlrs_engine.errors import InvalidArgument

DAY = 24 * 3600


@pytest.fixture
def instance(world):
    return world.create(world.add_state(), ttl=100)


def there(world, instance):
    return world.store.instances.get(instance.instance_id)


def test_an_instance_in_use_never_looks_expired(world, instance):
    world.server_of(instance).connections = 1
    world.clock.advance(91)
    world.instances.reaper.reap()
    world.clock.advance(50)
    assert there(world, instance).status == "orphaned"


def test_a_restart_is_use(world, instance):
    world.server_of(instance).crash()
    world.clock.advance(90)
    world.instances.restart.ensure_running(instance.instance_id)
    world.clock.advance(90)
    assert world.instances.reaper.reap() == []


def test_a_change_is_use(world, instance):
    world.clock.advance(99)
    world.instances.expiry.update(instance.instance_id, protected=True)
    assert there(world, instance).expires_at == shift(world.clock(), 100)


def test_a_name_takes_the_deadline_away_and_its_loss_gives_a_new_one(world):
    instance = world.create(world.add_state())
    world.registry.bind("dev", instance.instance_id)
    assert there(world, instance).expires_at is None
    world.clock.advance(1e6)
    assert world.instances.reaper.reap() == []
    world.registry.unbind("dev")
    assert there(world, instance).expires_at == shift(world.clock(), 86400)


def test_a_name_that_moves_changes_both_deadlines(world):
    state = world.add_state()
    old, new = world.create(state, name="dev"), world.create(state)
    world.registry.bind("dev", new.instance_id)
    assert there(world, old).expires_at is not None
    assert there(world, new).expires_at is None


def test_a_new_default_moves_the_deadlines_that_follow_it(world):
    state = world.add_state()
    follower = world.create(state)
    other = world.create(state, ttl=7)
    world.config.set("instances.ttl", "1h")
    assert there(world, follower).expires_at == shift(follower.created_at, 3600)
    assert there(world, other).expires_at == other.expires_at
    world.config.set("instances", {"ttl": "0"})
    assert there(world, follower).expires_at is None


def test_changes(world):
    instance = world.create(world.add_state())
    changed = world.instances.expiry.update(instance.instance_id, ttl=60)
    assert changed.expires_at == shift(world.clock(), 60)
    changed = world.instances.expiry.update(instance.instance_id, ttl=None, protected=True)
    assert (changed.protected, changed.ttl, changed.expires_at) == (True, None, None)
    changed = world.instances.expiry.update(instance.instance_id, protected=False)
    assert changed.expires_at == shift(world.clock(), DAY)
    with pytest.raises(InvalidArgument):
        world.instances.expiry.update(instance.instance_id, ttl=-1)
