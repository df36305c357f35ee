"""Which state is meant, given what steps were seen to read."""

from pathlib import Path

import pytest
from support.store_samples import state

from sqlrs_engine.errors import NotFound
from sqlrs_engine.states.observed_inputs import UNSEEN, ObservedInputs, as_planned
from sqlrs_engine.store.records import ObservedInput
from sqlrs_engine.store.sqlite import SqliteStore

PLANNED = "a" * 64
ROOT = "/project"


@pytest.fixture
def store(tmp_path: Path):
    store = SqliteStore(tmp_path / "state.db")
    yield store
    store.close()


class Files(dict[str, str]):
    def value(self, root: str | None, given: ObservedInput) -> str:
        return "" if given.kind == "unseen" else self.get(f"{root}/{given.path}", "absent")


@pytest.fixture
def files() -> Files:
    return Files({f"{ROOT}/x.sql": "one", f"{ROOT}/y.sql": "y"})


@pytest.fixture
def observed(store, files) -> ObservedInputs:
    return ObservedInputs(store.states, files.value)


def reads(name: str, value: str | None) -> ObservedInput:
    return ObservedInput("file", name, value)


def test_states_without_observed_inputs_are_as_planned(observed):
    assert observed.resolve(PLANNED, ROOT) == as_planned(PLANNED, ROOT)


def test_each_value_has_its_id_and_the_first_has_the_planned_one(observed, files):
    observed.published(PLANNED, [reads("x.sql", "one")])
    assert observed.resolve(PLANNED, ROOT).state_id == PLANNED
    files[f"{ROOT}/x.sql"] = "two"
    changed = observed.resolve(PLANNED, ROOT)
    assert changed.state_id != PLANNED
    assert changed.instead_of == PLANNED
    assert changed.changed == (reads("x.sql", "one"),)
    assert changed.values == {("file", "x.sql"): "two"}
    files[f"{ROOT}/x.sql"] = "three"
    assert observed.resolve(PLANNED, ROOT).state_id not in (PLANNED, changed.state_id)
    files[f"{ROOT}/x.sql"] = "two"
    assert observed.resolve(PLANNED, ROOT) == changed
    files[f"{ROOT}/x.sql"] = "one"
    assert observed.resolve(PLANNED, ROOT).state_id == PLANNED


def test_values_that_do_not_count_in_an_id_are_not_among_its_values(observed):
    observed.published(PLANNED, [reads("x.sql", "one")])
    unchanged = observed.resolve(PLANNED, ROOT)
    assert unchanged.values == {}
    assert unchanged.inputs == (reads("x.sql", "one"),)


def test_the_state_of_a_changed_input_may_have_more_inputs(observed, files):
    observed.published(PLANNED, [reads("x.sql", "zero")])
    second = observed.resolve(PLANNED, ROOT)
    observed.published(second.state_id, [reads("y.sql", "other")])
    third = observed.resolve(PLANNED, ROOT)
    assert third.instead_of == second.state_id
    assert third.values == {("file", "x.sql"): "one", ("file", "y.sql"): "y"}
    observed.published(second.state_id, [reads("y.sql", "y")])
    assert observed.resolve(PLANNED, ROOT).state_id == second.state_id


def test_what_changed_under_way_or_was_not_seen_never_matches(observed):
    for never in (reads("x.sql", None), UNSEEN):
        observed.published(PLANNED, [never])
        assert observed.resolve(PLANNED, ROOT).instead_of == PLANNED


def test_another_checkout_has_its_own_files(observed, files):
    observed.published(PLANNED, [reads("x.sql", "one")])
    assert observed.resolve(PLANNED, "/moved").state_id != PLANNED
    assert observed.resolve(PLANNED, None).state_id != PLANNED
    files["/moved/x.sql"] = "one"
    assert observed.resolve(PLANNED, "/moved").state_id == PLANNED


def test_a_resolution_falls_when_another_job_builds_the_state_of_other_files(observed, files):
    before = observed.resolve(PLANNED, ROOT)
    assert observed.stands(before)
    observed.published(PLANNED, [reads("x.sql", "one")])
    assert observed.stands(before)
    files[f"{ROOT}/x.sql"] = "two"
    assert not observed.stands(before)
    assert observed.stands(observed.resolve(PLANNED, ROOT))


def test_they_are_stored_with_the_state_and_read_at_the_next_start(store, files):
    inputs = (reads("x.sql", "one"), reads("caf\udce9.sql", None), UNSEEN)
    store.states.add(state(1, observed=True), None, inputs)
    store.states.add(state(2))
    observed = ObservedInputs(store.states, files.value)
    assert observed.of(state(1).state_id) == inputs
    assert observed.of(state(2).state_id) == ()
    observed.replace(state(1).state_id, inputs[:1])
    assert ObservedInputs(store.states, files.value).of(state(1).state_id) == inputs[:1]
    observed.replace(state(1).state_id, [])
    assert ObservedInputs(store.states, files.value).of(state(1).state_id) == ()
    assert store.states.get(state(1).state_id).observed is False


def test_a_state_is_stored_with_its_inputs_or_not_at_all(store):
    orphan = state(2, observed=True, parent_state_id=state(1).state_id)
    with pytest.raises(NotFound):
        store.states.add(orphan, None, [reads("x.sql", "one")])
    assert store.states.observed() == {}
    assert store.states.get(orphan.state_id) is None


def test_a_state_whose_inputs_are_lost_is_not_used_again(store, files):
    store.states.add(state(1, observed=True))
    observed = ObservedInputs(store.states, files.value)
    assert observed.resolve(state(1).state_id, ROOT).instead_of == state(1).state_id


def test_they_go_with_the_row_and_are_replaced_when_the_state_is_built_again(store, files):
    store.states.add(state(1, observed=True), None, [reads("x.sql", "one")])
    store.states.add(state(1, observed=True), None, [reads("y.sql", "y")])
    assert ObservedInputs(store.states, files.value).of(state(1).state_id) == (reads("y.sql", "y"),)
    store.states.add(state(1))
    assert store.states.observed() == {}
    store.states.add(state(1, observed=True), None, [reads("y.sql", "y")])
    store.states.remove(state(1).state_id)
    assert store.states.observed() == {}
