"""Resetting an instance to its state, and making a state of an instance."""

import pytest
from support.instance_fakes import IMAGE, World

from sqlrs_engine.errors import ClusterFailed, Conflict, ImageUnavailable, NotFound, StorageFull
from sqlrs_engine.ids import is_state_id
from sqlrs_engine.store import StateFilter


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def instance(world):
    instance = world.create(world.add_state(1), name="dev")
    world.server_of(instance).content = "changed"
    return instance


def work_is_empty(world):
    work = world.files.root / "work"
    return not work.exists() or not list(work.iterdir())


def test_reset_brings_the_content_back_and_keeps_the_rest(world, instance):
    after = world.instances.reset.apply(instance.instance_id)
    server = world.server_of(instance)
    assert server.content == "state 1"
    assert server.running
    assert server.password == instance.password
    assert (after.dsn, after.name) == (instance.dsn, "dev")
    assert after.runtime_id == server.running.runtime_id
    assert work_is_empty(world)


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
    assert work_is_empty(world)


def test_a_reset_without_room_for_the_row_is_done_all_the_same(world, instance, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(world.store.instances, "update", full)
        world.instances.reset.apply(instance.instance_id)
    server = world.server_of(instance)
    assert server.content == "state 1"
    after = world.instances.restart.ensure_running(instance.instance_id)
    assert after.runtime_id == server.running.runtime_id
    assert server.password == after.password == instance.password


def test_a_deletion_without_room_for_the_row_changes_nothing(world, instance, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(world.store.instances, "remove", full)
        with pytest.raises(StorageFull):
            world.instances.removal.remove(instance.instance_id)
    server = world.server_of(instance)
    assert (server.content, server.starts) == ("changed", 1)
    assert server.running


def full(*_, **__):
    raise StorageFull("the disk is full")


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
    assert work_is_empty(world)


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
    assert work_is_empty(world)
    states = world.files.state_dir(IMAGE, "x").parent
    assert [path.name for path in states.iterdir()] == [instance.state_id]
    assert len(world.store.states.find(StateFilter())) == 1


def test_a_state_that_may_be_damaged_is_not_cloned(world, instance, monkeypatch):
    monkeypatch.setattr(world.instances.services.states, "exists", lambda _: False)
    with pytest.raises(NotFound, match="damaged"):
        world.create(instance.state_id)
    with pytest.raises(NotFound, match="damaged"):
        world.instances.reset.apply(instance.instance_id)
    assert world.server_of(instance).content == "changed"


def test_a_promotion_whose_restart_fails_leaves_no_workspace(world, instance):
    world.fail_start = True
    with pytest.raises(ClusterFailed):
        world.instances.promotion.promote(instance.instance_id)
    assert work_is_empty(world)


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


def test_a_server_that_does_not_start_on_a_full_disk_says_so(world, instance):
    world.server_of(instance).crash()
    world.fail_start = world.disk_budget.full = True
    with pytest.raises(StorageFull, match="disk of the state store is full"):
        world.instances.restart.ensure_running(instance.instance_id)


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
