"""Restarting instances whose servers have ended."""

import pytest

from sqlrs_engine.errors import ClusterFailed, Conflict, StorageFull, StoreDamaged


def test_a_running_instance_is_left_alone(world):
    instance = world.create(world.add_state())
    lines = []
    assert world.instances.restart.ensure_running(instance.instance_id, lines.append) == instance
    assert lines == []
    assert world.server_of(instance).starts == 1


def test_a_dead_instance_is_restarted_as_it_was(world):
    instance = world.create(world.add_state())
    world.server_of(instance).crash()
    lines = []
    again = world.instances.restart.ensure_running(instance.instance_id, lines.append)
    assert (again.dsn, again.instance_id) == (instance.dsn, instance.instance_id)
    assert again.runtime_id == world.server_of(instance).running.runtime_id
    assert lines
    assert not any(instance.password in line for line in lines)


def test_a_restart_repairs_the_password(world):
    instance = world.create(world.add_state())
    server = world.server_of(instance)
    server.set_password(0, None)
    server.crash()
    world.instances.restart.ensure_running(instance.instance_id)
    assert server.password == instance.password


@pytest.mark.parametrize("noticed", ["listening", "foreign_ports"])
def test_an_instance_whose_port_was_taken_gets_another_and_another_password(world, noticed):
    """Before its start or by it: whoever has the port may know the password by now."""
    instance = world.create(world.add_state(), name="dev")
    server = world.server_of(instance)
    server.crash()
    world.instances.stop()  # as in another engine, which holds no port
    setattr(world, noticed, {instance.port})
    lines = []
    moved = world.instances.restart.ensure_running(instance.instance_id, lines.append)
    assert world.store.instances.get(instance.instance_id) == moved
    assert moved.port != instance.port
    assert moved.password == server.password != instance.password
    assert server.running.port == moved.port
    assert server.passwords[-2:] == [(5432, moved.password), (moved.port, moved.password)]
    assert str(instance.port) in lines[1]
    assert moved.password not in "".join(lines)
    server.crash()
    assert world.instances.restart.ensure_running(instance.instance_id).dsn == moved.dsn


def test_a_restart_needs_the_files(world):
    instance = world.create(world.add_state())
    world.server_of(instance).crash()
    world.files.discard(world.files.instance_dir(instance.instance_id))
    with pytest.raises(Conflict, match="files are missing"):
        world.instances.restart.ensure_running(instance.instance_id)


def test_damaged_files_are_said_and_a_reset_mends_them(world):
    instance = world.create(world.add_state())
    server = world.server_of(instance)
    server.crash()
    (server.container / "content").unlink()
    with pytest.raises(StoreDamaged, match=r"reset it.*or delete it"):
        world.instances.restart.ensure_running(instance.instance_id)
    assert world.instances.reset.apply(instance.instance_id).dsn == instance.dsn
    assert server.content == "state 1"


def test_a_server_that_does_not_start_any_more_says_what_to_do(world):
    instance = world.create(world.add_state())
    world.server_of(instance).crash()
    world.fail_start = True
    with pytest.raises(ClusterFailed, match=r"reset it.*or delete it.*out of memory"):
        world.instances.restart.ensure_running(instance.instance_id)


def test_a_server_that_does_not_start_on_a_full_disk_says_so(world, instance):
    world.server_of(instance).crash()
    world.fail_start = world.disk_budget.full = True
    with pytest.raises(StorageFull, match="disk of the state store is full"):
        world.instances.restart.ensure_running(instance.instance_id)
