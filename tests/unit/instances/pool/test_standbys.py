"""The standbys of a pool: each is handed over once, or returned to be removed."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from support.waiting import PATIENCE, eventually

from sqlrs_engine.instances.pool.standbys import PendingStandby, Standby, Standbys
from sqlrs_engine.instances.provisioner import RunningClone, Started

NUMBERS = itertools.count()


@pytest.fixture
def standbys() -> Standbys:
    standbys = Standbys()
    standbys.open()
    return standbys


def standby(state_id: str = "a") -> Standby:
    number = next(NUMBERS)
    clone = RunningClone(
        instance_id=f"{number:032x}",
        image_id="image",
        state_id=state_id,
        container=Path("/nonexistent"),
        server=cast(Any, None),
        port=number,
        password="",
        started=Started("1.1", 1),
        settings={},
        port_reservation=cast(Any, None),
    )
    return Standby(clone, memory_bytes=1)


def begun(standbys: Standbys, state_id: str = "a") -> PendingStandby:
    pending = standbys.begin(state_id)
    assert pending is not None
    return pending


def ready(standbys: Standbys, state_id: str = "a") -> Standby:
    """Add a standby that is ready."""
    pending, made = begun(standbys, state_id), standby(state_id)
    assert standbys.settle(pending, made) is None
    standbys.end(pending)
    return made


def test_none_is_accepted_before_the_pool_opens() -> None:
    standbys = Standbys()
    assert standbys.begin("a") is None
    assert standbys.being_made() == 0


def test_the_oldest_of_a_state_is_handed_over_first_and_once(standbys: Standbys) -> None:
    other, first, second = ready(standbys, "b"), ready(standbys), ready(standbys)
    assert standbys.ready() == [other, first, second]
    assert standbys.held() == {"a": 2, "b": 1}
    assert [standbys.take_ready("a"), standbys.take("a"), standbys.take("a")] == [
        first,
        second,
        None,
    ]
    assert standbys.ready() == [other]


def test_threads_never_get_the_same(standbys: Standbys) -> None:
    made = [ready(standbys) for _ in range(50)]
    with ThreadPoolExecutor(8) as threads:
        taken = [*threads.map(lambda _: standbys.take("a"), range(60))]
    assert sorted(map(id, filter(None, taken))) == sorted(map(id, made))


def test_one_that_is_being_made_is_claimed_by_one_thread_and_waited_for(standbys: Standbys) -> None:
    pending, made = begun(standbys), standby()
    assert standbys.held() == {"a": 1}
    assert standbys.take_ready("a") is None
    assert standbys.take("b") is None
    claimed = standbys.take("a")
    assert claimed is pending
    assert standbys.take("a") is None, "claimed once"
    assert standbys.held() == {}, "a claimed one is no longer the pool's"
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(pending.wait)
        assert standbys.settle(pending, made) is None
        assert waiting.result(PATIENCE) is made
    assert standbys.ready() == []


def test_one_that_cannot_be_made_ends_the_waiting(standbys: Standbys) -> None:
    pending = begun(standbys)
    assert standbys.take("a") is pending
    assert standbys.settle(pending, None) is None
    assert pending.wait() is None
    standbys.end(pending)
    assert (standbys.being_made(), standbys.ready()) == (0, [])


def test_one_that_is_not_wanted_any_more_is_returned_to_its_maker(standbys: Standbys) -> None:
    kept, cancelled = begun(standbys, "a"), begun(standbys, "b")
    assert standbys.clear(frozenset({"b"})) == []
    assert (kept.cancelled, cancelled.cancelled) == (False, True)
    assert standbys.take("b") is None, "a cancelled one is not claimed"
    made = standby("b")
    assert standbys.settle(cancelled, made) is made
    assert standbys.settle(kept, standby()) is None
    assert standbys.held() == {"a": 1}


def test_a_claimed_one_is_not_cancelled(standbys: Standbys) -> None:
    pending, made = begun(standbys), standby()
    assert standbys.take("a") is pending
    assert standbys.close() == []
    assert not pending.cancelled
    assert standbys.settle(pending, made) is None
    assert pending.wait() is made


def test_only_those_that_are_still_there_are_removed(standbys: Standbys) -> None:
    taken, unwanted, kept = ready(standbys), ready(standbys), ready(standbys)
    assert standbys.take("a") is taken
    assert standbys.remove([taken, unwanted]) == [unwanted]
    assert standbys.ready() == [kept]


def test_those_of_some_states_are_cleared(standbys: Standbys) -> None:
    first, other = ready(standbys, "a"), ready(standbys, "b")
    assert standbys.clear(frozenset({"a", "c"})) == [first]
    assert standbys.clear() == [other]


def test_a_closed_pool_returns_all_and_accepts_none_until_it_opens(standbys: Standbys) -> None:
    made, pending, late = ready(standbys), begun(standbys), standby()
    assert standbys.close() == [made]
    assert standbys.begin("a") is None
    assert standbys.settle(pending, late) is late
    standbys.open()
    assert standbys.begin("a") is not None


def test_the_unclaimed_are_waited_for(standbys: Standbys) -> None:
    claimed, pending = begun(standbys, "a"), begun(standbys, "b")
    assert standbys.take("a") is claimed
    assert not standbys.wait_settled(0)
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(standbys.wait_settled, PATIENCE)
        eventually(waiting.running)
        standbys.settle(pending, standby("b"))
        standbys.end(pending)
        assert waiting.result()
    assert standbys.being_made() == 1, "the claimed one is the matter of its thread"
