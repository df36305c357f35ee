from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.store_samples import NOON, at, instance, name, state

from sqlrs_engine.store import NameFilter
from sqlrs_engine.store.sqlite import SqliteStore

MISSING = replace(name(), status="missing")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db", clock=lambda: NOON)
    store.states.add(state(1))
    yield store
    store.close()


def test_a_name_comes_back_as_it_was_bound(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    full = name("full", state_fingerprint="f" * 64, last_used_at=at(3))

    assert store.names.put(name()) is True
    assert store.names.put(full) is True

    assert store.names.get("demo") == name()
    assert store.names.get("full") == full


def test_a_missing_name_is_none(store: SqliteStore) -> None:
    assert store.names.get("demo") is None


def test_binding_a_name_again_replaces_its_binding(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    store.instances.add(instance(2))
    store.names.put(name(state_fingerprint="f" * 64, last_used_at=at(1)))
    rebound = name(instance_id=instance(2).instance_id)

    assert store.names.put(rebound) is False
    assert store.names.get("demo") == rebound
    assert store.names.find(NameFilter()) == [rebound]


def test_a_name_survives_its_instance_and_state(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    store.names.put(name())

    store.instances.remove(instance(1).instance_id)
    store.states.remove(state(1).state_id)

    assert store.names.get("demo") == MISSING
    assert store.names.find(NameFilter()) == [MISSING]


def test_a_name_without_an_instance_is_missing(store: SqliteStore) -> None:
    store.names.put(name(instance_id=None))

    assert store.names.get("demo") == replace(MISSING, instance_id=None)


def test_a_name_expires_with_its_instance(store: SqliteStore) -> None:
    store.instances.add(instance(1, expires_at=at(-1)))
    store.names.put(name())

    assert store.names.get("demo") == replace(name(), status="expired")


def test_names_are_listed_by_name_and_filtered(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    store.names.put(name("c", image_id="other"))
    store.names.put(name("a"))
    store.names.put(name("b", instance_id=None, state_id="f" * 64))

    def found(filter: NameFilter) -> list[str]:
        return [n.name for n in store.names.find(filter)]

    assert found(NameFilter()) == ["a", "b", "c"]
    assert found(NameFilter(instance_id=instance(1).instance_id)) == ["a", "c"]
    assert found(NameFilter(state_id="f" * 64)) == ["b"]
    assert found(NameFilter(image_id="other")) == ["c"]
    assert found(NameFilter(image_id="other", state_id="f" * 64)) == []


def test_the_use_of_a_name_is_recorded(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    store.names.put(name())
    store.names.touch("demo", at(9))
    store.names.touch("gone", at(9))

    assert store.names.get("demo") == name(last_used_at=at(9))


def test_a_name_is_removed_once_and_its_instance_stays(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    store.names.put(name())

    assert store.names.remove("demo") is True
    assert store.names.remove("demo") is False
    assert store.instances.get(instance(1).instance_id) == instance(1)
