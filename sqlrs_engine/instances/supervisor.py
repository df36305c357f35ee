"""Watches the servers of instances and restarts those that end.

A server is restarted at once. If it ends again and again, pauses grow, and after seven attempts
it stays down until its instance is used. A server that was stopped on purpose, for a reset for
example, runs again or is gone when its restart begins, because both happen under the instance's
lock. Such an end does not count as an attempt.
"""

import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlrs_engine.processes.identity import start_ticks
from sqlrs_engine.store.records import Instance

RESTARTS_AT_ONCE = 4
ATTEMPTS = 7
FIRST_PAUSE_SECONDS = 1.0
CALM_SECONDS = 60.0
"""After this time without a restart, attempts are counted from zero again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Watched:
    """A process, and a descriptor that becomes readable when it ends: pidfd_open(2)."""

    instance_id: str
    runtime_id: str
    descriptor: int


@dataclass(slots=True)
class _Attempts:
    """The consecutive restarts of a server: their number, and the time of the last (monotonic)."""

    count: int = 0
    last: float = 0.0


class Supervisor:
    """Waits for the ends of all servers in one thread; safe to use from any thread."""

    def __init__(
        self,
        instances: Callable[[], Iterable[Instance]],
        *,
        on_end: Callable[[str], object],
        revive: Callable[[str], bool],
    ) -> None:
        """``instances`` returns those to watch from ``start`` on.

        ``on_end`` is called with the id of an instance whose server has ended, in the watching
        thread. ``revive`` restarts the server, in another thread, and returns whether it was
        down; it may raise.
        """
        self._instances = instances
        self._on_end = on_end
        self._revive = revive
        self._lock = threading.Lock()  # guards what follows
        self._poll: select.epoll | None = None
        self._watched: dict[int, _Watched] = {}
        self._of: dict[str, _Watched] = {}
        self._attempts: dict[str, _Attempts] = {}
        self._due: dict[str, float] = {}
        self._wake_reader = self._wake_writer = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch the servers of all instances; ``watch`` does nothing before this call."""
        with self._lock:
            if self._poll is not None:
                return
            self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._poll = select.epoll()
            self._poll.register(self._wake_reader, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self._thread.start()
        for instance in self._instances():
            self.watch(instance)

    def stop(self) -> None:
        """Stop watching servers; finish the restarts under way."""
        with self._lock:
            if self._poll is None:
                return
            poll, self._poll = self._poll, None
            self._wake()
        if self._thread is not None:
            self._thread.join()
        with self._lock:
            for watched in self._watched.values():
                os.close(watched.descriptor)
            self._watched.clear()
            self._of.clear()
            poll.close()
            os.close(self._wake_reader)
            os.close(self._wake_writer)

    def watch(self, instance: Instance) -> None:
        """Watch the server in an instance's row, in place of an earlier one."""
        if instance.runtime_id is None:
            return
        with self._lock:
            if self._poll is None:
                return
            before = self._of.get(instance.instance_id)
            if before is not None and before.runtime_id == instance.runtime_id:
                return
            if before is not None:
                self._forget(before)
            try:
                watched = _opened(instance.instance_id, instance.runtime_id)
            except OSError as error:
                _log.warning("cannot watch instance %s: %s", instance.instance_id, error)
                return
            if watched is None:
                self._note_end(instance.instance_id)
                self._wake()
                return
            self._watched[watched.descriptor] = watched
            self._of[watched.instance_id] = watched
            self._poll.register(watched.descriptor, select.EPOLLIN)

    def _run(self) -> None:
        with ThreadPoolExecutor(RESTARTS_AT_ONCE, "instance-restart") as pool:
            while (poll := self._poll) is not None:
                ready = poll.poll(self._pause())
                for instance_id in self._ended_of([descriptor for descriptor, _ in ready]):
                    try:
                        self._on_end(instance_id)
                    except Exception:
                        # The thread lives on, and the server is restarted all the same.
                        _log.exception("cannot hold the port of instance %s", instance_id)
                for instance_id in self._now_due():
                    pool.submit(self._try, instance_id)
            pool.shutdown(cancel_futures=True)

    def _ended_of(self, descriptors: Iterable[int]) -> list[str]:
        """Forget the processes that ended; return their instances."""
        with self._lock:
            if self._wake_reader in descriptors:
                os.read(self._wake_reader, 1024)
            ended = [self._watched[each] for each in descriptors if each in self._watched]
            for watched in ended:
                self._forget(watched)
                self._note_end(watched.instance_id)
        return [watched.instance_id for watched in ended]

    def _try(self, instance_id: str) -> None:
        with self._lock:
            attempts = self._attempts.setdefault(instance_id, _Attempts())
            attempts.count, attempts.last = attempts.count + 1, time.monotonic()
        try:
            was_down = self._revive(instance_id)
        except Exception as error:
            # Nothing waits for this; whatever it is may pass.
            _log.warning("cannot restart instance %s: %s", instance_id, error)
            with self._lock:
                self._note_end(instance_id)
                self._wake()
            return
        if not was_down:
            with self._lock:
                attempts.count -= 1

    def _note_end(self, instance_id: str) -> None:
        """Schedule the restart of an instance. The caller holds the lock."""
        now = time.monotonic()
        attempts = self._attempts.setdefault(instance_id, _Attempts())
        if now - attempts.last > CALM_SECONDS:
            attempts.count = 0
        if attempts.count >= ATTEMPTS:
            _log.error("instance %s keeps failing: it stays down until it is used", instance_id)
            return
        pause = FIRST_PAUSE_SECONDS * 2 ** (attempts.count - 1) if attempts.count else 0.0
        self._due[instance_id] = now + pause

    def _pause(self) -> float | None:
        with self._lock:
            if not self._due:
                return None
            return max(0.0, min(self._due.values()) - time.monotonic())

    def _now_due(self) -> list[str]:
        now = time.monotonic()
        with self._lock:
            due = [instance_id for instance_id, when in self._due.items() if when <= now]
            for instance_id in due:
                del self._due[instance_id]
            calm = [
                k for k, attempts in self._attempts.items() if now - attempts.last > CALM_SECONDS
            ]
            for instance_id in calm:
                del self._attempts[instance_id]
        return due

    def _forget(self, watched: _Watched) -> None:
        """Close a descriptor. The caller holds the lock."""
        if self._poll is not None:
            # Closing it is not enough: a fork in another thread may hold it open.
            self._poll.unregister(watched.descriptor)
        del self._watched[watched.descriptor]
        if self._of.get(watched.instance_id) is watched:
            del self._of[watched.instance_id]
        os.close(watched.descriptor)

    def _wake(self) -> None:
        """Wake the watching thread. The caller holds the lock."""
        os.write(self._wake_writer, b"x")


def _opened(instance_id: str, runtime_id: str) -> _Watched | None:
    """Open the descriptor of a process; return None when it has ended. Raises OSError."""
    pid, _, ticks = runtime_id.partition(".")
    try:
        descriptor = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return None
    # Compared now that the pid cannot pass to another process unnoticed.
    if str(start_ticks(int(pid))) != ticks:
        os.close(descriptor)
        return None
    return _Watched(instance_id, runtime_id, descriptor)
