"""How many standbys of which state."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine.instances.pool.demand import (
    HALF_LIFE,
    Demand,
    most_in_excess,
    most_lacking,
    shares,
)

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.001, 1000))


def test_requests_add_up_and_fade():
    demand = Demand()
    demand.count("a", 0)
    demand.count("a", 0)
    assert demand.scores(0, idle=600) == {"a": 2}
    assert demand.scores(HALF_LIFE, idle=600) == {"a": 1}
    demand.count("a", HALF_LIFE)
    assert demand.scores(HALF_LIFE, idle=600) == {"a": 2}


def test_what_was_not_asked_for_long_is_forgotten():
    demand = Demand()
    demand.count("a", 0)
    demand.count("b", 300)
    assert set(demand.scores(599, idle=600)) == {"a", "b"}
    assert set(demand.scores(600, idle=600)) == {"b"}
    assert set(demand.scores(600, idle=1000)) == {"b"}
    demand.forget("b")
    assert demand.scores(600, idle=600) == {}


@pytest.mark.parametrize(
    ("scores", "limit", "wanted"),
    [
        ({}, 8, {}),
        ({"a": 0.1}, 8, {"a": 1}),
        ({"a": 1.0}, 0, {}),
        ({"a": 2.0, "b": 0.9}, 8, {"a": 2, "b": 1}),
        ({"a": 100.0, "b": 0.9}, 8, {"a": 7, "b": 1}),
        ({"a": 100.0, "b": 50.0}, 9, {"a": 6, "b": 3}),
        ({"a": 3.0, "b": 2.0, "c": 1.0}, 2, {"a": 1, "b": 1}),
    ],
)
def test_standbys_are_shared_out(scores, limit, wanted):
    assert shares(scores, limit) == wanted


@given(SCORES, st.integers(0, 20))
def test_shares_keep_the_limit_and_leave_nobody_out_without_need(scores, limit):
    wanted = shares(scores, limit)
    assert sum(wanted.values()) <= limit
    assert len(wanted) == min(len(scores), limit)
    assert all(count >= 1 for count in wanted.values())
    left_out = [scores[k] for k in scores if k not in wanted]
    assert all(scores[k] >= max(left_out, default=0) for k in wanted)


def test_what_is_missing_and_what_is_too_much():
    held, wanted = {"a": 3, "b": 1}, {"a": 1, "b": 4, "c": 2}
    assert most_in_excess(held, wanted) == "a"
    assert most_lacking(held, wanted) == "c"
    assert most_lacking({"a": 1, "b": 2, "c": 2}, wanted) == "b"
    assert most_in_excess(wanted, wanted) is None
    assert most_lacking(wanted, wanted) is None
    assert most_in_excess({"x": 1}, {}) == "x"
    assert most_in_excess({}, wanted) is None
