"""What the next engine makes of what the last one left."""

from dataclasses import replace

from sqlrs_engine.errors import Conflict
from sqlrs_engine.ids import new_id
from sqlrs_engine.store import InstanceFilter


def recover(world):
    world.restart_engine()
    world.instances.recovery.run()


def stray(world):
    container = world.files.instance_dir(new_id())
    container.mkdir(parents=True)
    return container


def test_living_servers_are_adopted(world):
    instance = world.create(world.add_state())
    recover(world)
    assert world.server_of(instance).starts == 1
    assert world.store.instances.get(instance.instance_id) == instance


def test_a_server_started_just_before_the_crash_is_known_again(world):
    instance = world.create(world.add_state())
    server = world.server_of(instance)
    (server.container / "password").unlink()
    world.store.instances.update(instance.instance_id, runtime_id="1.1")
    recover(world)
    after = world.store.instances.get(instance.instance_id)
    assert (after.dsn, after.runtime_id) == (instance.dsn, instance.runtime_id)
    assert server.password == instance.password


def test_a_server_about_to_end_is_not_adopted(world):
    instance = world.create(world.add_state())
    server = world.server_of(instance)
    server.running = replace(server.running, stopping=True)
    recover(world)
    assert not server.running.stopping
    assert world.store.instances.get(instance.instance_id).dsn == instance.dsn


def test_a_row_follows_a_server_to_its_port(world):
    instance = world.create(world.add_state())
    world.store.instances.update(instance.instance_id, runtime_id="1.1", port=20900)
    recover(world)
    assert world.store.instances.get(instance.instance_id).dsn == instance.dsn


def test_dead_servers_are_restarted_where_they_were(world):
    state = world.add_state()
    instances = [world.create(state) for _ in range(6)]
    for instance in instances[1:]:
        world.server_of(instance).crash()
    recover(world)
    for instance in instances:
        after = world.store.instances.get(instance.instance_id)
        assert after.dsn == instance.dsn
        assert after.runtime_id == world.server_of(instance).running.runtime_id


def test_one_that_cannot_be_restarted_does_not_stop_the_others(world, monkeypatch, caplog):
    state = world.add_state()
    first, second = world.create(state), world.create(state)
    for instance in (first, second):
        world.server_of(instance).crash()

    def fail(*args):
        raise ZeroDivisionError

    monkeypatch.setattr(world.server_of(first), "set_password", fail)
    recover(world)
    assert world.server_of(second).running
    assert not world.server_of(first).running
    assert first.instance_id in caplog.text


def test_the_expired_are_removed_not_restarted(world):
    instance = world.create(world.add_state(), ttl=10)
    world.server_of(instance).crash()
    world.clock.advance(11)
    recover(world)
    assert world.server_of(instance).starts == 1
    assert world.store.instances.find(InstanceFilter()) == []


def test_files_without_a_row_go_with_what_runs_there(world):
    kept = world.create(world.add_state())
    container = stray(world)
    server = world.server("any", container)
    server.start(port=20001, settings={})
    recover(world)
    assert server.running is None
    assert not container.exists()
    assert world.server_of(kept).running


def test_unknown_files_that_may_be_precious_are_set_aside_as_they_run(world):
    container = stray(world)
    world.precious.add(container.name)
    server = world.server("any", container)
    server.start(port=20001, settings={})
    recover(world)
    assert server.running
    assert not container.exists()
    assert (world.files.root / "set-aside" / container.name).is_dir()


def test_a_stray_that_cannot_be_removed_does_not_stop_the_others(world, monkeypatch, caplog):
    strays = sorted([stray(world), stray(world), stray(world)])
    discard = world.files.discard

    def fail_once(container):
        if container == strays[0]:
            raise OSError("input/output error")
        discard(container)

    monkeypatch.setattr(world.files, "discard", fail_once)
    recover(world)
    assert [container.exists() for container in strays] == [True, False, False]
    assert strays[0].name in caplog.text


def test_what_is_no_container_is_set_aside(world, monkeypatch, caplog):
    strays = sorted([stray(world), stray(world)])
    discard = world.files.discard

    def refuse(container):
        if container == strays[0]:
            raise Conflict("refusing to delete a directory: it does not have the engine's marker")
        discard(container)

    monkeypatch.setattr(world.files, "discard", refuse)
    recover(world)
    assert [container.exists() for container in strays] == [False, False]
    assert (world.files.root / "set-aside" / strays[0].name).is_dir()


def test_directories_that_are_no_instance_stay(world):
    other = stray(world).parent / "lost+found"
    other.mkdir()
    recover(world)
    assert other.exists()


def test_a_row_without_files_goes_with_a_warning(world, caplog):
    lost = world.add_instance_row(world.add_state(), port=20999)
    recover(world)
    assert world.store.instances.find(InstanceFilter()) == []
    assert lost.instance_id in caplog.text


def test_a_failure_on_one_side_does_not_stop_the_rest(world, monkeypatch):
    instance = world.create(world.add_state())
    world.server_of(instance).crash()
    stray(world)

    def fail(container):
        raise OSError("input/output error")

    world.restart_engine()
    monkeypatch.setattr(world.files, "discard", fail)
    world.instances.recovery.run()
    assert world.server_of(instance).running


def test_a_shutdown_leaves_the_rest_to_the_next_start(world):
    instance = world.create(world.add_state())
    world.server_of(instance).crash()
    world.restart_engine()
    world.instances.stop()
    world.instances.recovery.run()
    assert not world.server_of(instance).running
    recover(world)
    assert world.server_of(instance).running


def test_recovery_of_an_empty_store_does_and_reports_nothing(world, caplog):
    recover(world)
    assert caplog.text == ""
    assert not world.running()
