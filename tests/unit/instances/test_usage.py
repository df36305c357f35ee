"""The connections to instances."""


def test_connections_are_counted(world):
    instance = world.create(world.add_state())
    assert world.instances.usage.connections(instance.instance_id) == 0
    world.server_of(instance).connections = 3
    assert world.instances.usage.connections(instance.instance_id) == 3
    world.server_of(instance).crash()
    assert world.instances.usage.connections(instance.instance_id) == 0
