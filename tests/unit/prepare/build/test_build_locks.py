"""Each state has one builder at a time, and only so many are at work."""

import threading

import pytest
from support.prepare_fakes import Gate, in_thread
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled
from sqlrs_engine.prepare.build.build_locks import BuildLocks
from sqlrs_engine.processes.cancellation import Cancellation


def nothing():
    pytest.fail("nobody else has it")


def test_a_key_is_held_by_one_thread():
    locks, gate, order, waited = BuildLocks(4), Gate(), [], []

    def first():
        with locks.hold("a", Cancellation(), nothing):
            gate()
            order.append("first")

    def second():
        with locks.hold("a", Cancellation(), lambda: waited.append(True)):
            order.append("second")

    with in_thread(first):
        assert gate.reached.wait(20)
        with in_thread(second):
            eventually(lambda: waited)
            assert order == []
            gate.open.set()
    assert order == ["first", "second"]


def test_a_key_that_another_thread_took_since_is_not_given_back():
    """A builder gives the states of a stretch back before the rest."""
    locks, gate = BuildLocks(4), Gate()
    locks.acquire("a", Cancellation(), nothing)
    locks.release(["a"])

    def second():
        with locks.hold("a", Cancellation(), nothing):
            gate()

    with in_thread(second):
        assert gate.reached.wait(20)
        locks.release(["a"])
        cancellation = Cancellation()
        with pytest.raises(Cancelled):
            locks.acquire("a", cancellation, cancellation.cancel)
        gate.open.set()


def test_keys_are_independent():
    locks, held = BuildLocks(1), []

    def other():
        with locks.hold("b", Cancellation(), nothing):
            held.append("b")

    with locks.hold("a", Cancellation(), nothing), in_thread(other):
        eventually(lambda: held == ["b"])


def test_a_failure_gives_key_and_permit_back():
    locks = BuildLocks(1)
    with pytest.raises(ValueError, match="x"), locks.hold("a", Cancellation(), nothing):
        raise ValueError("x")
    with pytest.raises(ValueError, match="x"), locks.permit(Cancellation()):
        raise ValueError("x")
    with locks.hold("a", Cancellation(), nothing), locks.permit(Cancellation()):
        pass


def test_no_more_threads_build_than_there_are_permits():
    locks, gate, building = BuildLocks(2), Gate(), []

    def build():
        with locks.permit(Cancellation()):
            building.append(1)
            gate()

    with in_thread(build), in_thread(build), in_thread(build):
        eventually(lambda: len(building) >= 2)
        assert len(building) == 2
        gate.open.set()
    assert len(building) == 3


@pytest.mark.parametrize("what", ["hold", "permit"])
def test_a_thread_that_waits_can_be_cancelled(what):
    locks, cancellation, raised, waiting = BuildLocks(1), Cancellation(), [], threading.Event()

    def wait():
        waiting.set()
        with pytest.raises(Cancelled):  # noqa: SIM117
            with locks.hold("a", cancellation, lambda: None), locks.permit(cancellation):
                pytest.fail("it is taken")
        raised.append(True)

    key = "a" if what == "hold" else "b"
    with (
        locks.hold(key, Cancellation(), nothing),
        locks.permit(Cancellation()),
        in_thread(wait),
    ):
        waiting.wait()
        cancellation.cancel()
        eventually(lambda: raised)
    with locks.hold("a", Cancellation(), nothing), locks.permit(Cancellation()):
        pass


def test_a_cancelled_job_gets_no_lock():
    locks, cancellation = BuildLocks(1), Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled), locks.hold("a", cancellation, nothing):
        pytest.fail("cancelled")
    with locks.hold("a", Cancellation(), nothing):
        pass
