"""Lookups by id and name; the rules of names."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.instance_fakes import World

from sqlrs_engine.errors import Conflict, InvalidArgument, NotFound
from sqlrs_engine.ids import new_id
from sqlrs_engine.registry import NAME_PATTERN, Registry, check_name
from sqlrs_engine.store import NameFilter


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def instance(world):
    return world.add_instance_row(world.add_state(), port=20000)


@pytest.fixture
def other(world, instance):
    return world.add_instance_row(instance.state_id, port=20001)


def test_an_id_finds_its_instance_without_redirect(world, instance):
    assert world.registry.instance(instance.instance_id) == (instance, False)
    assert world.registry.instance(instance.instance_id.upper()) == (instance, False)


def test_a_name_finds_its_instance_by_redirect(world, instance):
    world.registry.bind("dev", instance.instance_id)
    found, by_name = world.registry.instance("dev")
    assert found.instance_id == instance.instance_id
    assert by_name


def test_an_id_wins_over_a_name_of_the_same_form(world, instance, other):
    # Such a name can only come from another program's hand in the database.
    binding, _ = world.registry.bind("dev", other.instance_id)
    world.store.names.put(replace(binding, name=instance.instance_id))
    assert world.registry.instance(instance.instance_id)[1] is False
    unknown = new_id()
    world.store.names.put(replace(binding, name=unknown))
    found, by_name = world.registry.instance(unknown)
    assert (found.instance_id, by_name) == (other.instance_id, True)


@pytest.mark.parametrize("ref", ["nobody", "", "ab" * 16, "../etc"])
def test_an_unknown_reference_is_not_found(world, ref):
    with pytest.raises(NotFound):
        world.registry.instance(ref)


def test_a_name_whose_instance_is_gone_finds_none(world, instance):
    world.registry.bind("dev", instance.instance_id)
    world.store.instances.remove(instance.instance_id)
    with pytest.raises(NotFound):
        world.registry.instance("dev")
    assert world.registry.name("dev").status == "missing"


def test_binding_says_whether_the_name_is_new(world, instance, other):
    name, is_new = world.registry.bind("dev", instance.instance_id)
    assert is_new
    assert (name.instance_id, name.state_id) == (instance.instance_id, instance.state_id)
    assert (name.state_fingerprint, name.status) == (instance.state_id, "active")
    name, is_new = world.registry.bind("dev", other.instance_id)
    assert not is_new
    assert name.instance_id == other.instance_id


def test_a_name_may_be_bound_through_another(world, instance):
    world.registry.bind("dev", instance.instance_id)
    assert world.registry.bind("test", "dev")[0].instance_id == instance.instance_id


def test_unbinding(world, instance):
    world.registry.bind("dev", instance.instance_id)
    world.registry.unbind("dev")
    assert world.store.instances.get(instance.instance_id)
    for call in (world.registry.unbind, world.registry.name):
        with pytest.raises(NotFound):
            call("dev")


def test_binding_to_nothing_is_refused(world):
    with pytest.raises(NotFound):
        world.registry.bind("dev", new_id())
    assert world.store.names.find(NameFilter()) == []


def test_binding_to_an_instance_that_goes_meanwhile_changes_nothing(world, instance, monkeypatch):
    put = world.store.names.put

    def put_late(name):
        world.store.instances.remove(instance.instance_id)
        return put(name)

    monkeypatch.setattr(world.store.names, "put", put_late)
    with pytest.raises(NotFound):
        world.registry.bind("dev", instance.instance_id)
    assert world.store.names.find(NameFilter()) == []


def test_claiming_takes_only_free_names(world, instance, other):
    world.registry.claim("dev", instance)
    with pytest.raises(Conflict):
        world.registry.claim("dev", other)
    with pytest.raises(Conflict):
        world.registry.check_free("dev")
    world.store.instances.remove(instance.instance_id)
    world.registry.check_free("dev")
    assert world.registry.claim("dev", other).instance_id == other.instance_id


def test_changes_of_names_are_announced(world, instance, other):
    announced = []
    registry = Registry(world.store, on_names_changed=announced.append)
    registry.bind("dev", instance.instance_id)
    registry.bind("dev", other.instance_id)
    registry.unbind("dev")
    assert announced == [
        instance.instance_id,
        instance.instance_id,
        other.instance_id,
        other.instance_id,
    ]


def test_touching_a_name(world, instance):
    world.registry.bind("dev", instance.instance_id)
    world.clock.advance(5)
    world.registry.touch("dev")
    assert world.registry.name("dev").last_used_at == world.clock()


@given(st.from_regex(NAME_PATTERN, fullmatch=True))
def test_names_of_the_pattern_are_fine_unless_they_look_like_ids(name):
    if re.fullmatch("[0-9a-fA-F]{32}", name):
        with pytest.raises(InvalidArgument):
            check_name(name)
    else:
        check_name(name)


@given(st.from_regex(r"[0-9a-fA-F]{32}", fullmatch=True))
def test_names_that_look_like_instance_ids_are_refused(name):
    with pytest.raises(InvalidArgument, match="instance id"):
        check_name(name)


@given(st.text().filter(lambda text: not re.search(NAME_PATTERN[:-1] + r"\Z", text)))
def test_text_of_any_other_form_is_no_name(name):
    with pytest.raises(InvalidArgument):
        check_name(name)
