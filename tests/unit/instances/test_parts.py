"""Ports, locks and leases."""

import socket
import threading

import pytest

from sqlrs_engine.errors import Unavailable
from sqlrs_engine.instances.locks import KeyedLocks
from sqlrs_engine.instances.placeholders import Placeholders, consent_counts
from sqlrs_engine.instances.ports import Ports
from sqlrs_engine.states.leases import Leases


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


def ports(first=1, last=4, taken=frozenset(), busy=frozenset(), start=0):
    return Ports(
        lambda: (first, last),
        lambda: set(taken),
        placeholders=Busy(busy),
        choose=lambda count: start % count,
    )


def test_a_port_is_neither_an_instances_nor_a_programs():
    with ports(taken={1, 3}, busy={2}).reserved() as port:
        assert port == 4


def test_the_search_goes_round():
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
    some = ports()
    held = some._placeholders.held
    with some.reserved() as port:
        assert held == {port}
    assert held == set()
    with some.reserved() as port:
        some.keep(port)
    assert held == {port}
    some.release(port)
    assert held == set()


@pytest.fixture
def placeholders():
    placeholders = Placeholders()
    yield placeholders
    placeholders.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listening(port):
    """Return a socket that listens as PostgreSQL's does. Raises OSError."""
    return socket.create_server(("127.0.0.1", port))


def test_a_listening_socket_takes_its_port(placeholders):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not placeholders.hold(server.getsockname()[1])


def test_a_placeholder_keeps_the_port_from_others_and_answers_nobody(placeholders):
    port = free_port()
    assert placeholders.hold(port)
    assert placeholders.hold(port)
    with pytest.raises(OSError, match="in use"):
        listening(port)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    placeholders.release(port)
    listening(port).close()


@pytest.mark.skipif(not consent_counts(), reason="the system knows no sockets beside others")
def test_a_placeholder_outlives_the_server_that_it_admitted(placeholders):
    port = free_port()
    placeholders.hold(port)
    for _ in range(2):
        with placeholders.admitting(port):
            server = listening(port)
        with server, socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # what lingers of it does not matter
        with pytest.raises(OSError, match="in use"):
            listening(port)


def test_without_consent_a_placeholder_makes_way(placeholders, monkeypatch):
    monkeypatch.setattr("sqlrs_engine.instances.placeholders.consent_counts", lambda: False)
    port = free_port()
    placeholders.hold(port)
    with placeholders.admitting(port), listening(port):
        assert not placeholders.hold(port)
    assert placeholders.hold(port)


def in_thread(work):
    done = threading.Event()
    thread = threading.Thread(target=lambda: (work(), done.set()), daemon=True)
    thread.start()
    return thread, done


def test_a_key_is_held_by_one_thread():
    locks, order = KeyedLocks(), []

    def other():
        with locks.hold("a"):
            order.append("other")

    with locks.hold("a"), locks.hold("a"):
        thread, _ = in_thread(other)
        with locks.hold("b"):
            order.append("own")
    thread.join(30)
    assert order == ["own", "other"]


def test_several_keys_in_any_order_do_not_deadlock():
    locks = KeyedLocks()

    def take(keys):
        for _ in range(200):
            with locks.hold_all(keys):
                pass

    threads = [in_thread(lambda keys=keys: take(keys))[0] for keys in ("abc", "cba", "bca")]
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


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
        with leases.retire(["a"], 60) as claimed:
            claims.append(claimed)

    with leases.lease("a") as lease:
        with leases.retire(["a"], 0.01) as claimed:
            assert not claimed
        thread, _ = in_thread(retire)
        lease.release("a")
        thread.join(60)
    assert claims == [True]


def test_a_lease_waits_for_the_retirement():
    leases, order = Leases(), []

    def lease():
        with leases.lease("a"):
            order.append("leased")

    with leases.retire(["a"]) as claimed:
        assert claimed
        thread, _ = in_thread(lease)
        with leases.lease("b"):
            order.append("retired")
    thread.join(30)
    assert order == ["retired", "leased"]


def test_retirements_wait_for_each_other():
    leases, order = Leases(), []

    def retire():
        with leases.retire(["a", "b"]) as claimed:
            order.append(claimed)

    with leases.retire(["b"]):
        thread, _ = in_thread(retire)
        order.append("first")
    thread.join(30)
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
            while not told:
                borrowed.wait(0.01)
            order.append("given back")

    thread, _ = in_thread(borrow)
    assert borrowed.wait(30)
    assert not leases.leased("a")
    with leases.retire(["a", "b"]) as claimed:
        order.append("retired")
        assert claimed
        with leases.borrow("a") as free:
            assert not free
    thread.join(30)
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
