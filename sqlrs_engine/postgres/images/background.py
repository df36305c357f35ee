"""Work that goes on in a thread beside its consumer or producer, with a bounded distance.

Downloads, digests, decompression and files each take a core for a while, and Python lets go of its
lock in all of them.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from sqlrs_engine.processes.cancellation import Cancellation

T = TypeVar("T")

_LIMIT = 8


class Closed(Exception):  # noqa: N818 - nothing went wrong
    """The other side of a queue has left."""


class BoundedQueue(Generic[T]):
    """A queue that both sides can close, which wakes the other."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._items: deque[T] = deque()
        self._limit = limit
        self._changed = threading.Condition()
        self._ended = False
        self._closed = False

    def put(self, item: T) -> None:
        """Add an item, and wait for room first. Raises Closed."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._limit or self._closed)
            if self._closed:
                raise Closed
            self._items.append(item)
            self._changed.notify_all()

    def end(self) -> None:
        """Add nothing more: the consumer gets what there is."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Drop everything: both sides stop."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield the items until the end. Raises Closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended or self._closed)
                if self._closed:
                    raise Closed
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


class Worker(Generic[T]):
    """Runs a function in a thread, which iterates over the items put; leaving the block waits."""

    def __init__(self, work: Callable[[Iterator[T]], object]) -> None:
        """``work`` takes all items, or fails."""
        self._work = work
        self._queue: BoundedQueue[T] = BoundedQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def put(self, item: T) -> None:
        """Hand over an item; raises what the work has raised."""
        try:
            self._queue.put(item)
        except Closed:
            if self._failure is not None:
                raise self._failure from None
            raise

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self._queue.end()
        else:
            self._queue.close()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._work(iter(self._queue))
        except Closed:
            pass
        except BaseException as failure:
            self._failure = failure
            self._queue.close()


class Ahead(Generic[T]):
    """Iterates in a thread and yields in another; leaving the block ends the iteration.

    The consumer gets what the iteration raises, and at once what ends ``cancellation``. ``source``
    is closed in the thread that iterates.
    """

    def __init__(self, source: Generator[T, None, None], cancellation: Cancellation) -> None:
        self._source = source
        self._cancellation = cancellation
        self._queue: BoundedQueue[T] = BoundedQueue()
        self._failure: BaseException | None = None
        self._items = self._consumed()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Iterator[T]:
        self._thread.start()
        return self._items

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._items.close()
        self._queue.close()
        self._thread.join()

    def _consumed(self) -> Generator[T, None, None]:
        with self._cancellation.calling(self._queue.close):
            try:
                yield from self._queue
            except Closed:
                self._cancellation.check()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            with contextlib.closing(self._source) as items:
                for item in items:
                    self._queue.put(item)
        except Closed:
            pass
        except BaseException as failure:
            self._failure = failure
        finally:
            self._queue.end()
