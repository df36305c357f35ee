"""Removing instances."""

import pytest
from support.instance_fakes import IMAGE, disk_full

from sqlrs_engine.errors import StorageFull


def test_removal_takes_server_row_and_files_but_not_the_name(world):
    instance = world.create(world.add_state(), name="dev")
    assert world.instances.removal.remove(instance.instance_id)
    assert world.is_empty()
    assert world.registry.name("dev").status == "missing"
    assert not world.instances.removal.remove(instance.instance_id)


def test_removal_works_without_the_binaries(world):
    instance = world.create(world.add_state())
    world.unreachable_images.add(IMAGE)
    assert world.instances.removal.remove(instance.instance_id)
    world.unreachable_images.clear()
    assert world.is_empty()


def test_an_instance_that_cannot_be_removed_keeps_its_port(world, monkeypatch):
    instance = world.create(world.add_state())
    monkeypatch.setattr(world.store.instances, "remove", disk_full)
    with pytest.raises(StorageFull):
        world.instances.removal.remove(instance.instance_id)
    assert instance.port in world.port_placeholders.held
    assert world.server_of(instance).running


def test_the_port_of_a_removed_instance_is_given_up(world):
    held = world.port_placeholders.held
    instance = world.create(world.add_state())
    assert instance.port in held
    world.server_of(instance).crash()
    world.instances.removal.remove(instance.instance_id)
    assert instance.port not in held


def test_a_deletion_without_room_for_the_row_changes_nothing(world, instance, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(world.store.instances, "remove", disk_full)
        with pytest.raises(StorageFull):
            world.instances.removal.remove(instance.instance_id)
    server = world.server_of(instance)
    assert (server.content, server.starts) == ("changed", 1)
    assert server.running
