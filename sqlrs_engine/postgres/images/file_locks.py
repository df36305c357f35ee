"""Locks that threads and processes respect: ``flock`` on files that stay where they are."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlrs_engine.processes.cancellation import Cancellation

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def exclusive(
    path: Path, cancellation: Cancellation, on_wait: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock alone; ``on_wait`` is called once if another holder is in the way.

    Raises what ends ``cancellation`` while it waits.
    """
    with _locked(path, fcntl.LOCK_EX, cancellation, on_wait):
        yield


@contextlib.contextmanager
def shared(path: Path, cancellation: Cancellation) -> Iterator[None]:
    """Hold the lock together with other shared holders."""
    with _locked(path, fcntl.LOCK_SH, cancellation, lambda: None):
        yield


@contextlib.contextmanager
def exclusive_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock alone if nothing else holds it; yields whether it is held."""
    descriptor = _open(path)
    try:
        yield _try(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(
    path: Path, kind: int, cancellation: Cancellation, on_wait: Callable[[], None]
) -> Iterator[None]:
    descriptor = _open(path)
    try:
        if not _try(descriptor, kind):
            on_wait()
            ended = threading.Event()
            with cancellation.calling(ended.set):
                while not _try(descriptor, kind):
                    ended.wait(_POLL_SECONDS)
                    cancellation.check()
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
