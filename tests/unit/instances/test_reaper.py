"""The reaper: which expired instances are removed, and when."""

import threading

import pytest
from support.instance_fakes import IMAGE, disk_full
from support.waiting import eventually

from sqlrs_engine.clock import shift, utc_now
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
