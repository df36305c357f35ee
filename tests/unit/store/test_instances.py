from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.store_samples import NOON, at, instance, name, state

from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.sqlite import SqliteStore

ID = instance(1).instance_id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db", clock=lambda: NOON)
    store.states.add(state(1))
    yield store
    store.close()


def test_an_instance_comes_back_as_it_was_added(store: SqliteStore) -> None:
    plain = instance(1)
    full = instance(
        2,
        ttl=0.5,
        protected=True,
        expires_at=at(100),
        activity_at=at(50),
        sessions=2**40,
        runtime_id="17.4711",
    )
    store.instances.add(plain)
    store.instances.add(full)

    assert store.instances.get(plain.instance_id) == plain
    assert store.instances.get(full.instance_id) == full


def test_a_ttl_of_zero_is_not_the_default(store: SqliteStore) -> None:
    store.instances.add(instance(1, ttl=0.0))

    got = store.instances.get(ID)

    assert got is not None
    assert got.ttl == 0.0


def test_a_missing_instance_is_none(store: SqliteStore) -> None:
    assert store.instances.get(ID) is None


def test_an_instance_needs_its_state(store: SqliteStore) -> None:
    with pytest.raises(NotFound, match="state not found"):
        store.instances.add(instance(1, state_id="f" * 64))


def test_a_port_belongs_to_one_instance(store: SqliteStore) -> None:
    store.instances.add(instance(1))

    with pytest.raises(Conflict, match=f"port 20001 belongs to instance {ID}"):
        store.instances.add(instance(2, port=20001))

    store.instances.add(instance(2))
    with pytest.raises(Conflict, match="port is taken"):
        store.instances.update(ID, port=20002)

    assert store.instances.ports() == {20001, 20002}


def test_a_purpose_has_one_instance(store: SqliteStore) -> None:
    store.instances.add(instance(1, made_for="a job"))

    with pytest.raises(Conflict, match=f"{ID} is for a job"):
        store.instances.add(instance(2, made_for="a job"))

    store.instances.add(instance(2))
    store.instances.add(instance(3))
    found = store.instances.find(InstanceFilter(made_for="a job"))
    assert [(each.instance_id, each.made_for) for each in found] == [(ID, "a job")]


@pytest.mark.parametrize(
    ("names", "expires_at", "status"),
    [
        ([], None, "orphaned"),
        ([], at(0), "orphaned"),
        ([], at(-0.000001), "expired"),
        (["demo"], None, "active"),
        (["demo"], at(1), "active"),
        (["demo"], at(-1), "expired"),
    ],
)
def test_the_status_of_an_instance_follows_expiry_and_names(
    store: SqliteStore, names: list[str], expires_at: str | None, status: str
) -> None:
    store.instances.add(instance(1, expires_at=expires_at))
    for each in names:
        store.names.put(name(each))

    got = store.instances.get(ID)

    assert got is not None
    assert got.status == status
    assert store.instances.find(InstanceFilter()) == [got]


def test_the_name_of_an_instance_is_the_one_bound_first(tmp_path: Path) -> None:
    ticks = iter(range(100))
    store = SqliteStore(tmp_path / "other.db", clock=lambda: at(next(ticks)))
    store.states.add(state(1))
    store.instances.add(instance(1))
    for each in ("zebra", "ant", "zebra"):
        store.names.put(name(each))

    def shown() -> str | None:
        got = store.instances.get(ID)
        return got and got.name

    assert shown() == "zebra"
    # Bound elsewhere and back, it is the latest.
    store.names.put(name("zebra", instance_id=None))
    store.names.put(name("zebra"))
    assert shown() == "ant"
    store.close()


def test_instances_are_listed_and_filtered(store: SqliteStore) -> None:
    store.states.add(state(2))
    second = instance(2, state_id=state(2).state_id, image_id="other", created_at=at(0))
    third = instance(3, instance_id="abcdef0123456789" * 2)
    for each in (instance(1), second, third):
        store.instances.add(each)

    def found(filter: InstanceFilter) -> list[int]:
        return [i.port - 20000 for i in store.instances.find(filter)]

    assert found(InstanceFilter()) == [2, 1, 3]
    assert found(InstanceFilter(state_id=state(1).state_id)) == [1, 3]
    assert found(InstanceFilter(image_id="other")) == [2]
    assert found(InstanceFilter(id_prefix="abcdef01")) == [3]
    assert found(InstanceFilter(id_prefix="0" * 8)) == [2, 1]
    assert found(InstanceFilter(id_prefix="ABCDEF01")) == [3]
    assert found(InstanceFilter(id_prefix="0" * 8, state_id="f" * 64)) == []


def test_an_update_of_an_instance_changes_only_the_given_fields(store: SqliteStore) -> None:
    store.instances.add(instance(1, ttl=60.0))

    changed = store.instances.update(ID, ttl=None, protected=True, runtime_id="1.2")

    assert changed == replace(instance(1), protected=True, runtime_id="1.2")
    assert store.instances.get(ID) == changed


def test_an_update_of_an_instance_without_changes_returns_the_record(store: SqliteStore) -> None:
    store.instances.add(instance(1))

    assert store.instances.update(ID) == instance(1)


def test_an_update_of_a_missing_instance_returns_none(store: SqliteStore) -> None:
    assert store.instances.update(ID, ttl=1.0) is None


def test_an_update_of_an_instance_refuses_missing_states_and_unknown_fields(
    store: SqliteStore,
) -> None:
    store.instances.add(instance(1))

    with pytest.raises(NotFound, match="state not found"):
        store.instances.update(ID, state_id="f" * 64)
    for field in ("status", "name", "colour"):
        with pytest.raises(TypeError, match=field):
            store.instances.update(ID, **{field: "x"})

    assert store.instances.get(ID) == instance(1)


def test_an_instance_is_removed_once_and_frees_its_port(store: SqliteStore) -> None:
    store.instances.add(instance(1))

    assert store.instances.remove(ID) is True
    assert store.instances.remove(ID) is False
    assert store.instances.ports() == set()

    store.instances.add(instance(2, port=20001))
