"""A few at a time, in the order of their coming."""

import threading

import pytest

from sqlrs_engine.instances.fifo_semaphore import FifoSemaphore


def waiting(turns, count):
    """Wait until so many stand in line."""
    done = threading.Event()
    for _ in range(2000):
        if len(turns._waiting) == count:
            return
        done.wait(0.005)
    pytest.fail(f"{len(turns._waiting)} wait, not {count}")


def test_first_come_first_served():
    turns, order, threads = FifoSemaphore(1), [], []

    def work(number):
        with turns.turn():
            order.append(number)

    with turns.turn():
        assert turns.taken()
        for number in range(10):
            threads.append(threading.Thread(target=work, args=[number]))
            threads[-1].start()
            waiting(turns, number + 1)
        assert order == []
    for thread in threads:
        thread.join(30)
    assert order == list(range(10))
    assert not turns.taken()


def test_no_more_at_once_than_allowed():
    turns, inside, most = FifoSemaphore(3), set(), []
    lock = threading.Lock()

    def work(number):
        with turns.turn():
            with lock:
                inside.add(number)
                most.append(len(inside))
            with lock:
                inside.remove(number)

    threads = [threading.Thread(target=work, args=[number]) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert max(most) <= 3


def test_the_last_one_says_so_even_when_its_work_failed():
    turns, told = FifoSemaphore(2), []
    turns.on_free(lambda: told.append(turns.taken()))
    with turns.turn():
        with pytest.raises(ZeroDivisionError), turns.turn():
            _ = 1 / 0
        assert told == []
    assert told == [False]
