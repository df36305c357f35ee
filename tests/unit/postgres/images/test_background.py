"""Work in a thread beside its consumer or producer: order, failures, ends."""

import threading
from collections.abc import Callable, Generator, Iterator

import pytest

from sqlrs_engine.errors import Cancelled
from sqlrs_engine.postgres.images.background import Ahead, Worker
from sqlrs_engine.processes.cancellation import Cancellation


def put_all(work: Callable[[Iterator[int]], object]) -> None:
    with Worker[int](work) as worker:
        for number in range(100):
            worker.put(number)


def take_all(source: Generator[int, None, None], cancellation: Cancellation) -> list[int]:
    found: list[int] = []
    with Ahead(source, cancellation) as items:
        for item in items:
            found.append(item)
            cancellation.check()
    return found


def test_a_worker_takes_all_items_in_order() -> None:
    taken: list[int] = []
    put_all(taken.extend)
    assert taken == [*range(100)]


def test_the_failure_of_a_worker_reaches_its_producer() -> None:
    def fail(items: Iterator[int]) -> None:
        next(items)
        raise KeyError("work")

    with pytest.raises(KeyError, match="work"):
        put_all(fail)


def test_a_producer_that_fails_ends_its_worker() -> None:
    def produce() -> None:
        with Worker[int](taken.extend) as worker:
            worker.put(1)
            raise KeyError("producer")

    taken: list[int] = []
    with pytest.raises(KeyError, match="producer"):
        produce()
    assert taken in ([], [1])


def test_a_source_is_at_most_a_little_ahead() -> None:
    made: list[int] = []

    def source() -> Generator[int, None, None]:
        for number in range(1000):
            made.append(number)
            yield number

    with Ahead(source(), Cancellation()) as items:
        assert [next(items) for _ in range(10)] == [*range(10)]
    assert len(made) < 100


def test_the_failure_of_a_source_reaches_its_consumer_after_what_came_before() -> None:
    def source() -> Generator[int, None, None]:
        yield 1
        raise KeyError("source")

    with Ahead(source(), Cancellation()) as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="source"):
            next(items)


def test_a_source_is_closed_when_its_consumer_leaves() -> None:
    closed = threading.Event()

    def source() -> Generator[int, None, None]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with Ahead(source(), Cancellation()) as items:
        next(items)
    assert closed.is_set()


def test_a_consumer_that_waits_is_woken_by_the_end_of_the_work() -> None:
    cancellation = Cancellation()
    waits, go_on = threading.Event(), threading.Event()

    def source() -> Generator[int, None, None]:
        waits.set()
        go_on.wait(60)
        yield 1

    def end() -> None:
        waits.wait(60)
        cancellation.cancel()
        go_on.set()

    thread = threading.Thread(target=end)
    thread.start()
    with pytest.raises(Cancelled):
        take_all(source(), cancellation)
    thread.join(60)
