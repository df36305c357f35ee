"""States are written to the disk in the background, as soon as that works."""

import pytest
from support.waiting import eventually

from sqlrs_engine.states.durability import Durability


class FakeStates:
    """Counts how often states were to be made durable; fails as told."""

    def __init__(self):
        self.count = 0
        self.failure = None

    def make_durable(self):
        self.count += 1
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def states():
    return FakeStates()


@pytest.fixture
def durability(states):
    durability = Durability(states)
    yield durability
    durability.stop()


def test_states_are_made_durable_on_request_alone(states, durability):
    assert states.count == 0
    durability.request()
    eventually(lambda: states.count == 1)


def test_a_failure_is_logged_and_the_next_request_tries_again(states, durability, caplog):
    states.failure = OSError("bad disk")
    durability.request()
    eventually(lambda: "not known to be on the disk" in caplog.text)
    states.failure = None
    durability.request()
    eventually(lambda: states.count == 2)
