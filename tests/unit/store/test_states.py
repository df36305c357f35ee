from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.store_samples import at, instance, state

from sqlrs_engine.errors import Conflict, NotFound
from sqlrs_engine.store import StateFilter
from sqlrs_engine.store.records import Recipe, Totals
from sqlrs_engine.store.sqlite import SqliteStore

FULL = state(
    2,
    parent_state_id=state(1).state_id,
    prepare_args_normalized="",
    size_bytes=5_000_000_000,
    last_used_at=at(50),
    use_count=7,
    min_retention_until=at(60),
    boot_id="boot-1",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


def test_a_state_comes_back_as_it_was_added(store: SqliteStore) -> None:
    store.states.add(state(1))
    store.states.add(FULL)

    assert store.states.get(state(1).state_id) == state(1)
    assert store.states.get(FULL.state_id) == FULL


def test_a_missing_state_is_none(store: SqliteStore) -> None:
    assert store.states.get(state(1).state_id) is None


def test_the_text_of_a_state_is_stored_unchanged(store: SqliteStore) -> None:
    odd = state(1, prepare_args_normalized=" -c  select '$x %s ü' \n", image_id="a'b;--")
    store.states.add(odd)

    assert store.states.get(odd.state_id) == odd


def test_adding_a_state_again_changes_nothing(store: SqliteStore) -> None:
    store.states.add(state(1))
    store.states.add(state(1, use_count=9))

    assert store.states.find(StateFilter()) == [state(1)]


def test_a_state_needs_its_parent(store: SqliteStore) -> None:
    with pytest.raises(NotFound, match="parent state not found"):
        store.states.add(FULL)

    assert store.states.find(StateFilter()) == []


def test_states_are_listed_oldest_first(store: SqliteStore) -> None:
    for number in (3, 1, 2):
        store.states.add(state(number))
    store.states.add(state(9, created_at=at(2)))

    assert [s.state_id[-1] for s in store.states.find(StateFilter())] == ["1", "2", "9", "3"]


def test_states_are_filtered(store: SqliteStore) -> None:
    first, liquibase = state(1), state(3, prepare_kind="lb", image_id="other")
    for each in (first, FULL, liquibase):
        store.states.add(each)

    def found(filter: StateFilter) -> list[str]:
        return [s.state_id[-1] for s in store.states.find(filter)]

    assert found(StateFilter(prepare_kind="lb")) == ["3"]
    assert found(StateFilter(prepare_kind="psql")) == ["1", "2"]
    assert found(StateFilter(image_id="other")) == ["3"]
    assert found(StateFilter(parent_state_id=first.state_id)) == ["2"]
    assert found(StateFilter(prepare_kind="lb", image_id=first.image_id)) == []
    assert found(StateFilter(id_prefix="0" * 8)) == ["1", "2", "3"]
    assert found(StateFilter(id_prefix=FULL.state_id)) == ["2"]
    assert found(StateFilter(id_prefix="f" * 8)) == []


def test_the_refcount_is_the_number_of_instances(store: SqliteStore) -> None:
    store.states.add(state(1))
    store.instances.add(instance(1))
    store.instances.add(instance(2))

    assert store.states.get(state(1).state_id) == replace(state(1), refcount=2)
    assert store.states.find(StateFilter()) == [replace(state(1), refcount=2)]

    store.instances.remove(instance(1).instance_id)

    assert store.states.get(state(1).state_id) == replace(state(1), refcount=1)


def test_each_touch_counts_one_use(store: SqliteStore) -> None:
    store.states.add(state(1))
    store.states.touch(state(1).state_id, at(5))
    store.states.touch(state(1).state_id, at(6))
    store.states.touch(state(2).state_id, at(6))

    assert store.states.get(state(1).state_id) == replace(state(1), last_used_at=at(6), use_count=2)


def test_the_durability_of_states_is_recorded(store: SqliteStore) -> None:
    for number in (1, 2, 3):
        store.states.add(state(number, boot_id="boot-1"))

    store.states.set_durable([state(1).state_id, state(3).state_id, "gone"])
    store.states.set_durable([])

    assert store.states.undurable() == [state(2, boot_id="boot-1")]


def test_a_rebuilt_state_has_the_size_and_the_boot_of_its_new_files(store: SqliteStore) -> None:
    store.states.add(state(1, size_bytes=5, boot_id=None))
    store.states.touch(state(1).state_id, at(5))
    store.states.set_gone(state(1).state_id)

    gone = store.states.get(state(1).state_id)
    assert gone is not None
    assert (gone.size_bytes, store.states.undurable()) == (0, [])

    store.states.add(state(1, size_bytes=7, boot_id="boot-2", created_at=at(9)))

    renewed = state(1, size_bytes=7, boot_id="boot-2", last_used_at=at(5), use_count=1)
    assert store.states.find(StateFilter()) == [renewed]


def test_a_sync_does_not_make_damaged_or_gone_states_durable(store: SqliteStore) -> None:
    for number in (1, 2, 3):
        store.states.add(state(number, boot_id="boot-1"))
    store.states.set_damaged(state(1).state_id)
    store.states.set_gone(state(2).state_id)

    store.states.set_durable([state(number).state_id for number in (1, 2, 3)])

    # What is gone has nothing to write to the disk.
    left = {each.state_id for each in store.states.undurable()}
    assert left == {state(1).state_id}


def test_a_state_is_proven_for_good(store: SqliteStore) -> None:
    for number in (1, 2):
        store.states.add(state(number))

    store.states.set_proven(state(1).state_id)
    store.states.add(state(1))

    assert store.states.find(StateFilter()) == [state(1, proven=True), state(2)]


def test_an_unused_state_is_removed_once(store: SqliteStore) -> None:
    store.states.add(state(1))

    assert store.states.remove(state(1).state_id) is True
    assert store.states.remove(state(1).state_id) is False


def test_a_state_stays_while_an_instance_refers_to_it(store: SqliteStore) -> None:
    store.states.add(state(1))
    store.instances.add(instance(1))

    with pytest.raises(Conflict, match=r"in use.*instance"):
        store.states.remove(state(1).state_id)

    assert store.states.get(state(1).state_id) is not None


def test_a_state_stays_while_a_child_refers_to_it(store: SqliteStore) -> None:
    store.states.add(state(1))
    store.states.add(FULL)

    with pytest.raises(Conflict, match=r"in use.*state"):
        store.states.remove(state(1).state_id)

    store.states.remove(FULL.state_id)
    assert store.states.remove(state(1).state_id) is True


def test_states_are_counted_with_their_sizes(store: SqliteStore) -> None:
    assert store.states.totals() == Totals(count=0, size_bytes=0)

    store.states.add(state(1, size_bytes=None))
    store.states.add(FULL)
    store.states.add(state(3, size_bytes=5))

    assert store.states.totals() == Totals(count=3, size_bytes=5_000_000_005)


def test_recipes_are_found_by_parent_the_latest_used_first(store: SqliteStore) -> None:
    store.states.add(state(1), {"content": "one"})
    store.states.add(state(2, image_id="other"), {"content": "two", "files": [{"path": "/ü"}]})
    store.states.add(state(3))
    store.states.add(state(4, parent_state_id=state(1).state_id), {"content": "four"})

    def found(parent: int | None, limit: int = 10) -> list[str]:
        recipes = store.states.recipes(parent and state(parent).state_id, limit)
        return [recipe.step["content"] for recipe in recipes]

    assert found(None) == ["two", "one"]
    assert found(1) == ["four"]
    assert found(2) == []
    store.states.touch(state(1).state_id, at(60))
    assert found(None, limit=1) == ["one"]
    assert store.states.recipes(None, 10)[1] == Recipe(
        state_id=state(2).state_id,
        image_id="other",
        step={"content": "two", "files": [{"path": "/ü"}]},
    )


def test_a_recipe_goes_with_its_state(store: SqliteStore) -> None:
    store.states.add(state(1), {"content": "one"})
    store.states.add(state(1), {"content": "ignored, as the rest of the row is"})
    assert [recipe.step for recipe in store.states.recipes(None, 10)] == [{"content": "one"}]

    store.states.remove(state(1).state_id)
    store.states.add(state(1))
    assert store.states.recipes(None, 10) == []


def test_held_states_are_those_needed_and_their_ancestors(store: SqliteStore) -> None:
    for number, parent, changes in (
        (1, None, {}),  # an ancestor of 3
        (2, 1, {}),  # of 3 too
        (3, 2, {}),  # has an instance
        (4, 1, {}),  # nothing needs it
        (5, None, {"created_at": at(500)}),  # young
        (6, None, {"min_retention_until": at(900)}),
        (7, None, {}),  # in use
        (8, None, {"min_retention_until": at(200)}),  # no longer to be retained
    ):
        parent_id = None if parent is None else state(parent).state_id
        store.states.add(state(number, parent_state_id=parent_id, size_bytes=10**number, **changes))
    store.instances.add(instance(1, state_id=state(3).state_id))

    held = store.states.held(youngest=at(400), now=at(450), also={state(7).state_id})

    assert held == Totals(count=6, size_bytes=sum(10**n for n in (1, 2, 3, 5, 6, 7)))
    assert store.states.held(youngest=at(999), now=at(999), also=()).count == 3
