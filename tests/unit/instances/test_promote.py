"""Making a state of an instance."""

import pytest
from support.instance_fakes import IMAGE

from sqlrs_engine.errors import ClusterFailed, Conflict, NotFound, StorageFull
from sqlrs_engine.ids import is_state_id
from sqlrs_engine.store import StateFilter


def test_promotion_makes_a_child_state(world, instance):
    state = world.instances.promotion.promote(instance.instance_id)
    assert is_state_id(state.state_id)
    assert world.store.states.get(state.state_id) == state
    assert (state.parent_state_id, state.image_id) == (instance.state_id, IMAGE)
    assert state.prepare_kind == "snapshot"
    assert state.prepare_args_normalized == f"snapshot of {instance.instance_id}"
    assert state.size_bytes
    assert state.boot_id is None
    assert world.files.synced
    assert world.has_no_workspace()


def test_a_promoted_state_has_the_content_and_no_password(world, instance):
    state = world.instances.promotion.promote(instance.instance_id)
    container = world.files.state_dir(IMAGE, state.state_id)
    assert (container / "content").read_text() == "changed"
    assert not (container / "password").exists()
    assert not (container / "postgres.log").exists()


def test_the_promoted_instance_goes_on_after_a_clean_stop(world, instance):
    before = world.server_of(instance).running
    world.instances.promotion.promote(instance.instance_id)
    server = world.server_of(instance)
    assert "fast" in server.log
    assert "immediate" not in server.log
    assert server.running != before
    assert server.password == instance.password
    after = world.store.instances.get(instance.instance_id)
    assert (after.dsn, after.state_id) == (instance.dsn, instance.state_id)
    assert after.runtime_id == server.running.runtime_id


def test_no_two_promotions_are_the_same_state(world, instance):
    first = world.instances.promotion.promote(instance.instance_id)
    second = world.instances.promotion.promote(instance.instance_id)
    assert first.state_id != second.state_id


def test_a_promoted_state_can_be_used(world, instance):
    state = world.instances.promotion.promote(instance.instance_id)
    clone = world.create(state.state_id)
    assert world.server_of(clone).content == "changed"
    assert world.server_of(clone).password == clone.password != instance.password


def test_promotion_waits_for_nobody_to_be_connected(world, instance):
    world.server_of(instance).connections = 1
    with pytest.raises(Conflict):
        world.instances.promotion.promote(instance.instance_id)
    assert world.server_of(instance).connections == 1
    world.instances.promotion.promote(instance.instance_id, force=True)


def test_an_instance_deleted_just_before_it_is_promoted_is_not_found(world, instance, monkeypatch):
    def gone(path):
        world.instances.removal.remove(instance.instance_id)
        raise FileNotFoundError(path)

    monkeypatch.setattr(world.files, "usage", gone)
    with pytest.raises(NotFound):
        world.instances.promotion.promote(instance.instance_id)


def test_a_crashed_instance_recovers_before_it_is_promoted(world, instance):
    world.server_of(instance).crash()
    world.instances.promotion.promote(instance.instance_id)
    assert world.server_of(instance).log[-3:] == ["start", "fast", "start"]


def test_a_promotion_that_cannot_copy_leaves_the_instance_running(world, instance):
    world.files.fail_clone = True
    with pytest.raises(OSError, match="no space"):
        world.instances.promotion.promote(instance.instance_id)
    assert world.server_of(instance).running
    assert len(world.store.states.find(StateFilter())) == 1


def test_a_promotion_that_fails_late_leaves_no_state(world, instance, monkeypatch):
    def fail():
        raise OSError("the disk is gone")

    monkeypatch.setattr(world.files, "sync", fail)
    with pytest.raises(OSError, match="disk"):
        world.instances.promotion.promote(instance.instance_id)
    assert world.has_no_workspace()
    states = world.files.state_dir(IMAGE, "x").parent
    assert [path.name for path in states.iterdir()] == [instance.state_id]
    assert len(world.store.states.find(StateFilter())) == 1


def test_a_promotion_whose_restart_fails_leaves_no_workspace(world, instance):
    world.fail_start = True
    with pytest.raises(ClusterFailed):
        world.instances.promotion.promote(instance.instance_id)
    assert world.has_no_workspace()


def test_a_full_disk_refuses_a_promotion_before_the_server_stops(world, instance):
    world.disk_budget.full = True
    before = world.server_of(instance).running
    with pytest.raises(StorageFull):
        world.instances.promotion.promote(instance.instance_id)
    assert world.server_of(instance).running == before


def test_a_server_that_does_not_stop_cleanly_for_a_promotion_is_started_again(
    world, instance, monkeypatch
):
    server = world.server_of(instance)

    def crash(mode):
        server.crash()
        raise ClusterFailed("PostgreSQL failed while it stopped: its log has the cause")

    monkeypatch.setattr(server, "stop", crash)
    with pytest.raises(ClusterFailed, match="failed while it stopped"):
        world.instances.promotion.promote(instance.instance_id)
    assert server.running
