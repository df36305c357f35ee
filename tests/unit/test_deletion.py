"""Deletion trees: what would go, what blocks it, what is done."""

import threading

import pytest
from support.instance_fakes import IMAGE, World, state_id

from sqlrs_engine.deletion import Node
from sqlrs_engine.errors import NotFound
from sqlrs_engine.ids import new_id


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def deletion(world):
    return world.deletion


def leaf(instance, connections=0, blocked=None):
    return Node(
        kind="instance",
        id=instance.instance_id,
        connections=connections,
        blocked=blocked,
        runtime_id=instance.runtime_id,
    )


def both_ways(call, **options):
    """Run dry and for real; return the real result after comparing the two."""
    planned = call(dry_run=True, **options)
    done = call(dry_run=False, **options)
    assert planned.dry_run
    assert not done.dry_run
    assert planned.root == done.root
    assert planned.outcome == {"deleted": "would_delete"}.get(done.outcome, done.outcome)
    return done


def test_an_idle_instance_goes(world, deletion):
    instance = world.create(world.add_state())
    result = both_ways(lambda **o: deletion.instance(instance.instance_id, **o))
    assert (result.outcome, result.root) == ("deleted", leaf(instance))
    assert world.store.instances.get(instance.instance_id) is None
    assert not world.running()


def test_a_dry_run_deletes_nothing(world, deletion):
    instance = world.create(world.add_state())
    deletion.instance(instance.instance_id, force=True, dry_run=True)
    deletion.state(instance.state_id, recurse=True, force=True, dry_run=True)
    assert world.server_of(instance).running
    assert world.store.states.get(instance.state_id)


def test_connections_block_unless_forced(world, deletion):
    instance = world.create(world.add_state())
    world.server_of(instance).connections = 2
    result = both_ways(lambda **o: deletion.instance(instance.instance_id, **o))
    assert result.outcome == "blocked"
    assert result.root == leaf(instance, 2, "active_connections")
    assert world.server_of(instance).running
    result = both_ways(lambda **o: deletion.instance(instance.instance_id, **o), force=True)
    assert (result.outcome, result.root) == ("deleted", leaf(instance, 2))


def test_protection_blocks_unless_forced(world, deletion):
    instance = world.create(world.add_state(), protected=True)
    result = both_ways(lambda **o: deletion.instance(instance.instance_id, **o))
    assert result.root == leaf(instance, 0, "protected")
    result = both_ways(lambda **o: deletion.state(instance.state_id, **o), recurse=True)
    assert result.root.blocked == "blocked_by_descendant"
    result = both_ways(lambda **o: deletion.instance(instance.instance_id, **o), force=True)
    assert result.outcome == "deleted"


@pytest.mark.parametrize("dry_run", [True, False])
def test_deleting_an_unknown_object_is_not_found(world, deletion, dry_run):
    world.create(world.add_state(), name="dev")
    for ref in (new_id(), "dev"):
        with pytest.raises(NotFound):
            deletion.instance(ref, dry_run=dry_run)
    with pytest.raises(NotFound):
        deletion.state(state_id(404), dry_run=dry_run)


def test_a_state_alone_goes_with_its_files(world, deletion):
    state = world.add_state()
    result = both_ways(lambda **o: deletion.state(state, **o))
    assert (result.outcome, result.root) == ("deleted", Node(kind="state", id=state))
    assert world.store.states.get(state) is None
    assert not world.files.state_dir(IMAGE, state).exists()


@pytest.mark.parametrize("force", [True, False])
def test_dependants_block_a_state_and_force_does_not_help(world, deletion, force):
    parent, user = world.add_state(1), world.add_state(2)
    child = world.add_state(3, parent=1)
    world.create(user)
    for state in (parent, user):
        result = both_ways(lambda state=state, **o: deletion.state(state, **o), force=force)
        assert result.outcome == "blocked"
        assert result.root == Node(kind="state", id=state, blocked="has_descendants")
    assert world.store.states.get(child)


def test_recursion_takes_instances_then_children(world, deletion):
    top = world.add_state(1)
    world.add_state(2, parent=1)
    low = world.add_state(3, parent=2)
    on_top, on_low = world.create(top), world.create(low)
    result = both_ways(lambda **o: deletion.state(top, **o), recurse=True)
    assert result.outcome == "deleted"
    lowest = Node(kind="state", id=low, children=(leaf(on_low),))
    middle = Node(kind="state", id=state_id(2), children=(lowest,))
    assert result.root == Node(kind="state", id=top, children=(leaf(on_top), middle))
    assert not world.running()
    assert world.store.states.get(top) is None
    assert not list(world.files.state_dir(IMAGE, top).parent.iterdir())


def test_one_connection_far_below_blocks_everything(world, deletion):
    top, side = world.add_state(1), world.add_state(2, parent=1)
    low = world.add_state(3, parent=1)
    idle, used = world.create(side), world.create(low)
    world.server_of(used).connections = 1
    result = both_ways(lambda **o: deletion.state(top, **o), recurse=True)
    assert result.outcome == "blocked"
    assert result.root.blocked == "blocked_by_descendant"
    on_side, on_low = result.root.children
    assert on_side == Node(kind="state", id=side, children=(leaf(idle),))
    assert on_low.blocked == "blocked_by_descendant"
    assert on_low.children == (leaf(used, 1, "active_connections"),)
    assert len(world.running()) == 2
    result = both_ways(lambda **o: deletion.state(top, **o), recurse=True, force=True)
    assert result.outcome == "deleted"


@pytest.mark.parametrize("options", [{}, {"recurse": True, "force": True}])
def test_a_state_being_used_by_a_job_is_blocked(world, deletion, options):
    top, low = world.add_state(1), world.add_state(2, parent=1)
    with world.leases.lease(low):
        result = both_ways(lambda **o: deletion.state(low, **o), **options)
        assert result.root.blocked == "has_descendants"
        if options:
            result = both_ways(lambda **o: deletion.state(top, **o), **options)
            assert result.root.blocked == "blocked_by_descendant"
    assert deletion.state(low).outcome == "deleted"


def test_long_chains_of_states(world, deletion):
    for number in range(1500):
        world.add_state(number, parent=number - 1 if number else None)
    assert deletion.state(state_id(0), recurse=True, dry_run=True).outcome == "would_delete"


def test_an_instance_made_while_its_state_is_deleted_waits_and_fails(world, deletion, monkeypatch):
    """Between the plan and the deletion nobody can get in."""
    state, failures = world.add_state(), []
    first = world.create(state)
    removal = world.instances.removal
    remove = removal.remove

    def create():
        try:
            world.create(state)
        except NotFound as error:
            failures.append(error)

    thread = threading.Thread(target=create, daemon=True)

    def remove_slowly(instance_id):
        thread.start()
        return remove(instance_id)

    monkeypatch.setattr(removal, "remove", remove_slowly)
    assert deletion.state(state, recurse=True).outcome == "deleted"
    thread.join(30)
    assert len(failures) == 1
    assert world.store.instances.get(first.instance_id) is None
    assert not world.running()


def test_an_instance_made_while_the_tree_is_read_is_not_overlooked(world, deletion, monkeypatch):
    """It comes after the first look: it must be in the tree that is deleted."""
    state, made = world.add_state(), []
    retire = world.leases.retire

    def retire_late(state_ids):
        if not made:
            made.append(world.create(state))
        return retire(state_ids)

    monkeypatch.setattr(world.leases, "retire", retire_late)
    result = deletion.state(state, recurse=True)
    assert result.outcome == "deleted"
    assert [child.id for child in result.root.children] == [made[0].instance_id]
    assert not world.running()


def test_a_client_that_connects_at_the_last_moment_blocks(world, deletion, monkeypatch):
    instance = world.create(world.add_state())
    locks = world.instances.services.locks
    hold_all = locks.hold_all

    def connect_late(instance_ids):
        world.server_of(instance).connections = 1
        return hold_all(instance_ids)

    monkeypatch.setattr(locks, "hold_all", connect_late)
    assert deletion.instance(instance.instance_id).outcome == "blocked"
    world.server_of(instance).connections = 0
    assert deletion.state(instance.state_id, recurse=True).outcome == "blocked"
    assert world.server_of(instance).running
