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


def test_a_key_is_held_by_one():
    flights, gate, order, waited = BuildLocks(4), Gate(), [], []

    def first():
        with flights.hold("a", Cancellation(), nothing):
            gate()
            order.append("first")

    def second():
        with flights.hold("a", Cancellation(), lambda: waited.append(True)):
            order.append("second")

    with in_thread(first):
        assert gate.reached.wait(20)
        with in_thread(second):
            eventually(lambda: waited)
            assert order == []
            gate.open.set()
    assert order == ["first", "second"]


def test_keys_are_independent():
    flights = BuildLocks(1)
    with flights.hold("a", Cancellation(), nothing), flights.hold("b", Cancellation(), nothing):
        pass


def test_a_failure_gives_the_key_back():
    flights = BuildLocks(1)
    with pytest.raises(ValueError, match="x"), flights.hold("a", Cancellation(), nothing):
        raise ValueError("x")
    with pytest.raises(ValueError, match="x"), flights.slot(Cancellation()):
        raise ValueError("x")
    with flights.hold("a", Cancellation(), nothing), flights.slot(Cancellation()):
        pass


def test_there_are_so_many_slots():
    flights, busy, most = BuildLocks(2), [], []
    lock = threading.Lock()

    def work():
        with flights.slot(Cancellation()):
            with lock:
                busy.append(1)
                most.append(len(busy))
            threading.Event().wait(0.005)
            with lock:
                busy.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2
    assert len(most) == 8


@pytest.mark.parametrize("what", ["hold", "slot"])
def test_who_waits_can_be_cancelled(what):
    flights, control, raised, waiting = BuildLocks(1), Cancellation(), [], threading.Event()

    def wait():
        waiting.set()
        with pytest.raises(Cancelled):  # noqa: SIM117
            with flights.hold("a", control, lambda: None), flights.slot(control):
                pytest.fail("it is taken")
        raised.append(True)

    key = "a" if what == "hold" else "b"
    with (
        flights.hold(key, Cancellation(), nothing),
        flights.slot(Cancellation()),
        in_thread(wait),
    ):
        waiting.wait()
        control.cancel()
        eventually(lambda: raised)
    with flights.hold("a", Cancellation(), nothing), flights.slot(Cancellation()):
        pass


def test_who_was_cancelled_before_gets_nothing():
    flights, control = BuildLocks(1), Cancellation()
    control.cancel()
    with pytest.raises(Cancelled), flights.hold("a", control, nothing):
        pytest.fail("cancelled")
    with flights.hold("a", Cancellation(), nothing):
        pass
