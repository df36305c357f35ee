"""The queue between a run and its client."""

import threading

from sqlrs_engine.runs.event_queue import EventQueue


def test_a_full_queue_blocks_its_writer_and_small_events_count_with_their_memory():
    queue = EventQueue(limit=10_000)
    writer = threading.Thread(target=lambda: [queue.put({"n": n}) for n in range(1000)])
    writer.start()
    seen, most = 0, 0
    while seen < 1000:
        events = queue.take()
        most = max(most, len(events))
        seen += len(events)
    writer.join()
    assert most <= 25


def test_an_unblocked_queue_takes_any_number_of_events():
    queue = EventQueue(limit=10)
    queue.unblock()
    for number in range(100):
        queue.put({"n": number}, size=100)
    assert queue.full
    assert len(queue.take()) == 100
    assert not queue.full


def test_the_listener_is_called_once_for_events_that_have_not_been_taken():
    queue, calls = EventQueue(), []
    queue.put({"n": 1})
    queue.listen(lambda: calls.append(1))
    assert len(calls) == 1
    queue.put({"n": 2})
    assert len(calls) == 1
    assert [event["n"] for event in queue.take()] == [1, 2]
    queue.put({"n": 3})
    assert len(calls) == 2


def test_a_queue_is_exhausted_when_it_is_closed_and_all_events_have_been_taken():
    queue, calls = EventQueue(), []
    queue.listen(lambda: calls.append(1))
    queue.put({"n": 1})
    assert not queue.exhausted
    queue.close()
    assert len(calls) == 2
    assert not queue.exhausted
    queue.take()
    assert queue.exhausted
