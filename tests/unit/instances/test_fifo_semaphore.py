"""A limited number of threads at a time, in the order of their arrival."""

import threading

import pytest
from support.waiting import eventually

from sqlrs_engine.instances.fifo_semaphore import FifoSemaphore


def test_threads_work_in_the_order_of_their_arrival():
    semaphore, order, threads = FifoSemaphore(1), [], []

    def work(number):
        with semaphore.hold():
            order.append(number)

    with semaphore.hold():
        assert semaphore.busy()
        for number in range(10):
            threads.append(threading.Thread(target=work, args=[number]))
            threads[-1].start()
            eventually(lambda n=number: semaphore.waiting() == n + 1, "the thread to wait")
        assert order == []
    for thread in threads:
        thread.join(30)
    assert order == list(range(10))
    assert not semaphore.busy()


def test_no_more_threads_work_at_a_time_than_the_limit():
    semaphore, inside, most = FifoSemaphore(3), set(), []
    lock = threading.Lock()

    def work(number):
        with semaphore.hold():
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


def test_the_last_thread_calls_back_even_if_work_failed():
    semaphore, told = FifoSemaphore(2), []
    semaphore.on_idle(lambda: told.append(semaphore.busy()))
    with semaphore.hold():
        with pytest.raises(ZeroDivisionError), semaphore.hold():
            _ = 1 / 0
        assert told == []
    assert told == [False]
