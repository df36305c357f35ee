"""The ids of states, pinned: a change to one makes every cached state unreachable."""

from sqlrs_engine.ids import is_state_id
from sqlrs_engine.states import state_ids


def test_the_recipe_is_of_this_format():
    """Raise FORMAT, and change these, only when the same inputs make other states."""
    step = state_ids.step_hash({"input": "command", "content": "c0ffee", "options": [["v", "a=1"]]})
    state = state_ids.state_id("postgres@sha256:" + "ab" * 32, "psql", step)
    assert state_ids.FORMAT == 1
    assert step == "825ab65c97ca3327bcbb7e351cb66cbc333a60f5b162b795d16a37d8f2e2e6a9"
    assert state == "397d7ed66eb6662714b4f55898c89ddf922a3646485d8f530b12ba9e1b1d81a8"


def test_a_canonical_form_is_hashed():
    one = state_ids.step_hash({"a": 1, "b": "é"})
    assert one == state_ids.step_hash({"b": "é", "a": 1})


def test_every_part_of_a_state_id_counts():
    ids = {
        state_ids.state_id("x", "psql", "s"),
        state_ids.state_id("y", "psql", "s"),
        state_ids.state_id("x", "lb", "s"),
        state_ids.state_id("x", "psql", "t"),
    }
    assert len(ids) == 4
    assert all(is_state_id(each) for each in ids)


def test_every_part_of_a_signature_counts():
    signatures = {
        state_ids.signature("psql", "x", ["s", "t"], plan_only=False),
        state_ids.signature("lb", "x", ["s", "t"], plan_only=False),
        state_ids.signature("psql", "y", ["s", "t"], plan_only=False),
        state_ids.signature("psql", "x", ["t", "s"], plan_only=False),
        state_ids.signature("psql", "x", ["st"], plan_only=False),
        state_ids.signature("psql", "x", ["s", "t"], plan_only=True),
    }
    assert len(signatures) == 6
