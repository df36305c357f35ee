"""Resetting an instance to its state."""

import pytest
from support.instance_fakes import IMAGE, disk_full

from sqlrs_engine.errors import ClusterFailed, Conflict, ImageUnavailable, NotFound, StorageFull


def test_reset_brings_the_content_back_and_keeps_the_rest(world, instance):
    after = world.instances.reset.apply(instance.instance_id)
    server = world.server_of(instance)
    assert server.content == "state 1"
    assert server.running
    assert server.password == instance.password
    assert (after.dsn, after.name) == (instance.dsn, "dev")
    assert after.runtime_id == server.running.runtime_id
    assert world.has_no_workspace()


def test_reset_waits_for_nobody_to_be_connected(world, instance):
    world.server_of(instance).connections = 2
    with pytest.raises(Conflict, match="connections: 2"):
        world.instances.reset.apply(instance.instance_id)
    assert world.server_of(instance).content == "changed"
    world.instances.reset.apply(instance.instance_id, force=True)
    assert world.server_of(instance).content == "state 1"


def test_reset_revives_a_dead_instance(world, instance):
    world.server_of(instance).crash()
    world.instances.reset.apply(instance.instance_id)
    assert world.server_of(instance).running


def test_a_reset_that_cannot_copy_changes_nothing(world, instance):
    world.files.fail_clone = True
    with pytest.raises(OSError, match="no space"):
        world.instances.reset.apply(instance.instance_id)
    server = world.server_of(instance)
    assert server.running
    assert server.content == "changed"


def test_a_reset_that_cannot_swap_changes_nothing(world, instance):
    world.files.fail_exchange = True
    with pytest.raises(StorageFull):
        world.instances.reset.apply(instance.instance_id)
    server = world.server_of(instance)
    assert (server.content, server.starts) == ("changed", 1)
    assert server.running
    assert world.has_no_workspace()


def test_a_reset_without_room_for_the_row_is_done_all_the_same(world, instance, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(world.store.instances, "update", disk_full)
        world.instances.reset.apply(instance.instance_id)
    server = world.server_of(instance)
    assert server.content == "state 1"
    after = world.instances.restart.ensure_running(instance.instance_id)
    assert after.runtime_id == server.running.runtime_id
    assert server.password == after.password == instance.password


def test_a_reset_needs_the_state(world, instance):
    world.files.discard(world.files.state_dir(IMAGE, instance.state_id))
    with pytest.raises(NotFound):
        world.instances.reset.apply(instance.instance_id)
    assert world.server_of(instance).running


def test_a_reset_without_binaries_changes_nothing(world, instance):
    world.unreachable_images.add(IMAGE)
    with pytest.raises(ImageUnavailable):
        world.instances.reset.apply(instance.instance_id)
    world.unreachable_images.clear()
    assert world.server_of(instance).content == "changed"


def test_a_reset_that_cannot_start_leaves_an_instance_to_be_started(world, instance):
    world.fail_start = True
    with pytest.raises(ClusterFailed):
        world.instances.reset.apply(instance.instance_id)
    world.fail_start = False
    world.instances.restart.ensure_running(instance.instance_id)
    assert world.server_of(instance).content == "state 1"


def test_a_state_that_may_be_damaged_is_not_cloned(world, instance, monkeypatch):
    monkeypatch.setattr(world.instances.services.states, "exists", lambda _: False)
    with pytest.raises(NotFound, match="damaged"):
        world.create(instance.state_id)
    with pytest.raises(NotFound, match="damaged"):
        world.instances.reset.apply(instance.instance_id)
    assert world.server_of(instance).content == "changed"
