"""Ports are chosen from a range, and kept."""

import pytest

from sqlrs_engine.errors import Unavailable
from sqlrs_engine.instances.ports import Ports


class Busy:
    """Placeholders that hold every port but some."""

    def __init__(self, busy=frozenset()):
        self.busy = busy
        self.held = set()

    def hold(self, port):
        if port in self.busy:
            return False
        self.held.add(port)
        return True

    def release(self, port):
        self.held.discard(port)


def ports(first=1, last=4, taken=frozenset(), busy=frozenset(), start=0, placeholders=None):
    return Ports(
        lambda: (first, last),
        lambda: set(taken),
        placeholders=placeholders or Busy(busy),
        choose=lambda count: start % count,
    )


def test_a_port_is_neither_an_instances_nor_a_programs():
    with ports(taken={1, 3}, busy={2}).reserved() as port:
        assert port == 4


def test_the_search_for_a_port_goes_round():
    with ports(busy={4}, start=3).reserved() as port:
        assert port == 1


def test_reserved_ports_are_not_given_twice():
    some = ports(last=2)
    with some.reserved() as first, some.reserved() as second:
        assert {first, second} == {1, 2}
        with pytest.raises(Unavailable, match="widen"), some.reserved():
            pass
    with some.reserved():
        pass


def test_a_port_is_held_until_it_is_given_back():
    placeholders = Busy()
    held, some = placeholders.held, ports(placeholders=placeholders)
    with some.reserved() as port:
        assert held == {port}
    assert held == set()
    with some.reserved() as port:
        some.keep(port)
    assert held == {port}
    with some.releasing(port):
        assert held == {port}
    assert held == set()


def test_a_port_that_is_being_released_goes_to_nobody():
    some = ports(last=1)
    with some.releasing(1), pytest.raises(Unavailable), some.reserved():
        pass
    with some.reserved() as port:
        assert port == 1


def test_a_port_stays_held_when_its_instance_stays():
    placeholders = Busy()
    some = ports(last=1, placeholders=placeholders)
    with some.reserved() as port:
        some.keep(port)
    with pytest.raises(OSError, match="full"), some.releasing(port):
        raise OSError("the disk is full")
    assert placeholders.held == {port}
