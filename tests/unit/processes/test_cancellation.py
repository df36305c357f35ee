"""Ending a job from outside."""

import threading

import pytest
from support.prepare_fakes import Gate, in_thread
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled
from sqlrs_engine.processes.cancellation import Cancellation, Interrupted


def test_nothing_happens_to_a_job_that_is_let_alone():
    control = Cancellation()
    control.check()
    assert not control.ended
    assert not control.interrupted_within(0)


def test_cancelled():
    control = Cancellation()
    control.cancel()
    assert control.ended
    assert not control.interrupted_within(0)
    with pytest.raises(Cancelled, match="job cancelled"):
        control.check()


def test_interrupted():
    control = Cancellation()
    control.interrupt()
    assert control.interrupted_within(60)
    with pytest.raises(Interrupted):
        control.check()


def test_a_cancel_stands_whatever_comes_before_or_after():
    for calls in (("cancel", "interrupt"), ("interrupt", "cancel")):
        control = Cancellation()
        for call in calls:
            getattr(control, call)()
        with pytest.raises(Cancelled):
            control.check()


def test_whoever_cannot_ask_is_called():
    control, calls = Cancellation(), []
    with control.calling(lambda: calls.append(1)), control.calling(lambda: calls.append(2)):
        control.cancel()
        assert calls == [1, 2]
    control.cancel()
    assert calls == [1, 2]


def test_whoever_comes_too_late_is_called_at_once():
    control, calls = Cancellation(), []
    control.cancel()
    with control.calling(lambda: calls.append(1)):
        assert calls == [1]


def test_nobody_is_called_after_the_block():
    """What a callback uses may be closed, and its number be used again, after the block."""
    control, gate = Cancellation(), Gate()
    left = threading.Event()
    late = []

    def leave():
        with control.calling(lambda: late.append(left.is_set())):
            inside.set()
            gate.reached.wait(20)
        left.set()

    inside = threading.Event()
    with control.calling(gate), in_thread(leave):
        inside.wait()
        with in_thread(control.cancel):
            eventually(gate.reached.is_set)
            left.wait(0.05)
            gate.open.set()
    assert late == [False]
