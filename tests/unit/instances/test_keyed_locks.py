"""Locks by key."""

import threading

from support.waiting import PATIENCE

from sqlrs_engine.instances.keyed_locks import KeyedLocks


def test_a_key_is_held_by_one_thread():
    locks, order = KeyedLocks(), []

    def other():
        with locks.hold("a"):
            order.append("other")

    with locks.hold("a"), locks.hold("a"):
        thread = threading.Thread(target=other, daemon=True)
        thread.start()
        with locks.hold("b"):
            order.append("own")
    thread.join(PATIENCE)
    assert order == ["own", "other"]


def test_several_keys_in_any_order_do_not_deadlock():
    locks = KeyedLocks()

    def take(keys):
        for _ in range(200):
            with locks.hold_all(keys):
                pass

    threads = [threading.Thread(target=take, args=[k], daemon=True) for k in ("abc", "cba", "bca")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
