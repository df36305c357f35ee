"""Expiry: who is removed when, and what counts as use."""

import threading

import pytest
from support.instance_fakes import IMAGE, disk_full
from support.waiting import eventually

from sqlrs_engine.clock import shift, utc_now
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.instances import reaper
from sqlrs_engine.instances.reaper import Reaper

DAY = 24 * 3600


@pytest.fixture
def instance(world):
    return world.create(world.add_state(), ttl=100)


def there(world, instance):
    return world.store.instances.get(instance.instance_id)


def test_an_unused_instance_is_removed_when_its_time_is_up(world, instance):
    world.clock.advance(99)
    assert world.instances.reaper.reap() == []
    world.clock.advance(1)
    assert world.instances.reaper.reap() == [instance.instance_id]
    assert there(world, instance) is None
    assert not world.running()


def test_open_connections_are_use(world, instance):
    world.server_of(instance).connections = 1
    world.clock.advance(95)
    assert world.instances.reaper.reap() == []
    assert there(world, instance).expires_at == shift(world.clock(), 100)


def test_a_session_that_came_and_went_is_use(world, instance):
    world.server_of(instance).use()
    world.clock.advance(100)
    assert world.instances.reaper.reap() == []
    assert there(world, instance).expires_at == shift(world.clock(), 100)
    world.clock.advance(100)
    assert world.instances.reaper.reap() == [instance.instance_id]


def test_the_engines_own_sessions_are_no_use(world, instance):
    for _ in range(9):
        world.clock.advance(10)
        world.instances.usage.connections(instance.instance_id)
    world.clock.advance(10)
    assert world.instances.reaper.reap() == [instance.instance_id]


def test_an_instance_in_use_never_looks_expired(world, instance):
    world.server_of(instance).connections = 1
    world.clock.advance(91)
    world.instances.reaper.reap()
    world.clock.advance(50)
    assert there(world, instance).status == "orphaned"


def test_a_reset_of_the_statistics_counts_as_use(world, instance):
    world.server_of(instance).sessions = 0
    world.clock.advance(100)
    assert world.instances.reaper.reap() == []


def test_a_dead_instance_is_idle(world, instance):
    world.server_of(instance).crash()
    world.clock.advance(100)
    assert world.instances.reaper.reap() == [instance.instance_id]


def test_an_instance_without_binaries_is_removed_too(world, instance):
    world.unreachable_images.add(IMAGE)
    world.clock.advance(100)
    assert world.instances.reaper.reap() == [instance.instance_id]
    world.unreachable_images.clear()


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


def test_a_removal_that_fails_is_tried_again_later(world, instance, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(world.store.instances, "remove", disk_full)
        world.clock.advance(100)
        assert world.instances.reaper.reap() == []
    assert there(world, instance)
    assert world.instances.reaper.reap() == []
    world.clock.advance(61)
    assert world.instances.reaper.reap() == [instance.instance_id]


def test_the_reaper_wakes_for_a_new_deadline(world, monkeypatch):
    removed = threading.Event()
    discard = world.files.discard
    monkeypatch.setattr(world.files, "discard", lambda path: (discard(path), removed.set()))
    instance = world.create(world.add_state())
    world.instances.reaper.start()
    # Nothing but this change can wake it: its own sleep is a minute.
    world.instances.expiry.update(instance.instance_id, ttl=0.001)
    world.clock.advance(1)
    assert removed.wait(30)
    world.instances.stop()
    assert there(world, instance) is None


def test_a_short_life_given_at_creation_ends_in_time(world, monkeypatch):
    monkeypatch.setattr(reaper, "LONGEST_SLEEP", 3600.0)
    looked, next_due = threading.Event(), Reaper.next_due

    def look(its_reaper):
        due = next_due(its_reaper)
        looked.set()
        return due

    monkeypatch.setattr(Reaper, "next_due", look)
    world.clock = utc_now
    world.restart_engine()
    world.instances.reaper.start()
    assert looked.wait(30)
    instance = world.create(world.add_state(), ttl=0.2)
    eventually(lambda: there(world, instance) is None, "its removal")


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
