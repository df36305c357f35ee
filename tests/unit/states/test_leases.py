"""States in use cannot be deleted, and states being deleted cannot be used."""

import threading

import pytest
from support.waiting import PATIENCE, eventually

from sqlrs_engine.states.leases import Leases


def started(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_leased_state_cannot_be_retired():
    leases = Leases()
    with leases.lease("a", "b"), leases.lease("a"):
        assert leases.leased("a")
        with leases.retire(["c", "b"]) as claimed:
            assert not claimed
        with leases.retire(["c"]) as claimed:
            assert claimed
    assert not leases.leased("a")
    with leases.retire(["a", "b"]) as claimed:
        assert claimed


def test_states_are_released_one_by_one_and_kept_again():
    leases = Leases()
    with leases.lease("a", "b") as lease, leases.lease("b"):
        lease.release("a", "b", "never held")
        lease.release("a")
        assert leases.current() == {"b"}
        lease.renew()
        lease.renew()
        assert leases.current() == {"a", "b"}
        lease.release("b")
    assert leases.current() == frozenset()


def test_a_retirement_waits_for_leases_as_long_as_it_is_told_to():
    leases, claims = Leases(), []

    def retire():
        with leases.retire(["a"], PATIENCE) as claimed:
            claims.append(claimed)

    with leases.lease("a") as lease:
        with leases.retire(["a"], 0.01) as claimed:
            assert not claimed
        thread = started(retire)
        lease.release("a")
        thread.join(PATIENCE)
    assert claims == [True]


def test_a_lease_waits_for_the_retirement():
    leases, order = Leases(), []

    def lease():
        with leases.lease("a"):
            order.append("leased")

    with leases.retire(["a"]) as claimed:
        assert claimed
        thread = started(lease)
        with leases.lease("b"):
            order.append("retired")
    thread.join(PATIENCE)
    assert order == ["retired", "leased"]


def test_retirements_wait_for_each_other():
    leases, order = Leases(), []

    def retire():
        with leases.retire(["a", "b"]) as claimed:
            order.append(claimed)

    with leases.retire(["b"]):
        thread = started(retire)
        order.append("first")
    thread.join(PATIENCE)
    assert order == ["first", True]


def test_a_lease_ends_when_its_work_fails():
    leases = Leases()
    with pytest.raises(ZeroDivisionError), leases.lease("a"):
        _ = 1 / 0
    assert not leases.leased("a")


def test_what_is_only_borrowed_can_be_retired():
    leases, told, order = Leases(), [], []
    leases.on_retire(told.append)
    borrowed = threading.Event()

    def borrow():
        with leases.borrow("a") as free:
            assert free
            borrowed.set()
            eventually(lambda: told, "the retirement")
            order.append("given back")

    thread = started(borrow)
    assert borrowed.wait(PATIENCE)
    assert not leases.leased("a")
    with leases.retire(["a", "b"]) as claimed:
        order.append("retired")
        assert claimed
        with leases.borrow("a") as free:
            assert not free
    thread.join(PATIENCE)
    assert told == [frozenset("ab")]
    assert order == ["given back", "retired"]
    with leases.borrow("a") as free:
        assert free


def test_borrowers_are_not_told_of_a_retirement_that_is_refused():
    leases, told = Leases(), []
    leases.on_retire(told.append)
    with leases.lease("a"), leases.retire(["a"]) as claimed:
        assert not claimed
    assert told == []
