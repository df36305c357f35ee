"""Hands standbys over and adjusts their number to the demand, in the background.

A standby differs from an instance only in that it has no row: handing it over adds the row. The
next start of an engine that was killed removes its standbys like all files without a row. No other
part knows of standbys: they do not count as references to their state, and they are removed when
anything else needs their disk space, memory or ports.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from sqlrs_engine.errors import EngineError
from sqlrs_engine.host.memory import Memory
from sqlrs_engine.instances.fifo_semaphore import FifoSemaphore
from sqlrs_engine.instances.provisioner import Provisioner, RunningClone
from sqlrs_engine.instances.services import Services

from .demand import Demand, most_in_excess, most_lacking, shares
from .limits import Limits
from .maker import Abandoned, StandbyMaker
from .standbys import PendingStandby, Standby, Standbys

IDLE = "pool.idle"

MADE_AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""Made at the same time, each standby takes longer, and a client may wait for the first."""
QUIET_SECONDS = 0.05
"""The pool makes no standbys for this time after a hand-over: its client is about to connect."""
MAX_QUIET_SECONDS = 1.0
"""The pool makes standbys after this time even if hand-overs follow each other closely."""
CHECK_SECONDS = 5.0
"""The time between two checks of the machine's memory and of idle standbys."""
STOP_SECONDS = 3.0

_SPACE_PATIENCE_SECONDS = 5.0

_log = logging.getLogger(__name__)

Spawn = Callable[[Callable[[], None]], None]


def in_thread(work: Callable[[], None]) -> None:
    """Do work in a new thread, which does not keep the process alive."""
    threading.Thread(target=work, name="standby", daemon=True).start()


class Pool:
    """Keeps standbys and hands them over; safe to use from any thread.

    It is empty before ``start`` and after ``stop``, which is final.
    """

    def __init__(
        self,
        services: Services,
        provisioner: Provisioner,
        clone_semaphore: FifoSemaphore,
        *,
        memory: Memory,
        now: Callable[[], float] = time.monotonic,
        spawn: Spawn = in_thread,
    ) -> None:
        """``clone_semaphore`` is held for clones that clients wait for, which come first."""
        self._services = services
        self._provisioner = provisioner
        self._clone_semaphore = clone_semaphore
        self._now = now
        self._spawn = spawn
        self._standbys = Standbys()
        self._limits = Limits(services.config, memory)
        self._maker = StandbyMaker(services, provisioner, self._limits, self._standbys)
        self._lock = threading.Lock()  # guards what follows
        self._demand = Demand()
        self._quiet_until = 0.0
        self._first_request: float | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        services.leases.on_retire(self._forget)
        services.config.on_change(lambda path: self._wake.set())
        clone_semaphore.on_idle(self._wake.set)

    def take(self, state_id: str) -> RunningClone | None:
        """Hand over a standby of a state; return None when there is none.

        Waits for a standby that is being made: it is ready sooner than another clone would be.
        The caller holds a lease of the state.
        """
        if not self._limits.enabled():
            return None
        clone = self._take(state_id)
        self._services.metrics.pool_requested(hit=clone is not None)
        return clone

    def requested(self, state_id: str) -> None:
        """Count a request for an instance of a state."""
        now = self._now()
        with self._lock:
            self._demand.count(state_id, now)
            self._first_request = now if self._first_request is None else self._first_request
            self._quiet_until = min(now + QUIET_SECONDS, self._first_request + MAX_QUIET_SECONDS)
        self._wake.set()

    def release_all(self) -> bool:
        """Remove all standbys to free what they use; return whether there were any.

        Their files are gone when this returns, unless that takes more than a few seconds.
        """
        if not self._standbys.held():
            return False
        self._discard(self._standbys.clear())
        self._standbys.wait_settled(_SPACE_PATIENCE_SECONDS)
        self._services.files.wait_idle(_SPACE_PATIENCE_SECONDS)
        return True

    def start(self) -> None:
        """Keep standbys, in the background, until ``stop``."""
        with self._lock:
            if self._stopping.is_set() or self._thread is not None:
                return
            self.open()
            self._thread = threading.Thread(target=self._run, name="pool", daemon=True)
            self._thread.start()

    def open(self) -> None:
        """Accept standbys, which ``adjust`` makes."""
        self._standbys.open()

    def stop(self) -> None:
        """Remove all standbys and make no more."""
        with self._lock:
            self._stopping.set()
        standbys = self._standbys.close()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._discard(standbys)
        if not self._standbys.wait_settled(STOP_SECONDS):
            _log.warning("a standby is still being made: the next start of the engine removes it")

    def standbys(self) -> list[Standby]:
        """Return the standbys that are ready."""
        return self._standbys.ready()

    def being_made(self) -> int:
        """Return how many standbys are being made."""
        return self._standbys.being_made()

    def adjust(self) -> float | None:
        """Remove standbys that are not needed, and begin to make those that are missing.

        Return the seconds after which to adjust again, None when there is nothing to adjust.
        """
        now = self._now()
        with self._lock:
            quiet_seconds = self._quiet_until - now
            if quiet_seconds > 0:
                return quiet_seconds
            self._first_request = None
            scores = self._demand.scores(now, self._services.config.seconds(IDLE))
        outdated = [
            standby
            for standby in self._standbys.ready()
            if standby.clone.state_id not in scores or not self._usable(standby.clone)
        ]
        self._discard(self._standbys.remove(outdated))
        limit = self._limits.standbys()
        wanted = shares(scores, limit)
        self._shrink(wanted, limit)
        self._fill(wanted, limit)
        return CHECK_SECONDS if scores or self._standbys.held() else None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                pause = self.adjust()
            except Exception:
                # The thread lives on.
                _log.exception("cannot adjust the warm pool: trying again")
                pause = CHECK_SECONDS
            self._wake.wait(pause)

    def _take(self, state_id: str) -> RunningClone | None:
        while (found := self._standbys.take(state_id)) is not None:
            standby = found.wait() if isinstance(found, PendingStandby) else found
            if standby is None:
                return None
            if self._usable(standby.clone):
                return standby.clone
            self._provisioner.discard(standby.clone)
        return None

    def _usable(self, clone: RunningClone) -> bool:
        """Return whether a standby runs and is the same as a new instance."""
        return (
            clone.settings == self._provisioner.settings()
            and self._services.ports.in_range(clone.port)
            and clone.alive()
        )

    def _forget(self, state_ids: frozenset[str]) -> None:
        """Remove the standbys of states that are about to be deleted."""
        with self._lock:
            for state_id in state_ids:
                self._demand.forget(state_id)
        self._discard(self._standbys.clear(state_ids))

    def _shrink(self, wanted: dict[str, int], limit: int) -> None:
        """Remove standbys until there are no more than the limit allows."""
        held = self._standbys.held()
        while held.total() > limit and self._remove_one(most_in_excess(held, wanted)):
            held = self._standbys.held()

    def _remove_one(self, state_id: str | None) -> bool:
        """Remove a standby of a state; return False when none is ready."""
        standby = None if state_id is None else self._standbys.take_ready(state_id)
        if standby is None:
            return False
        self._discard([standby])
        return True

    def _fill(self, wanted: dict[str, int], limit: int) -> None:
        """Begin to make missing standbys, unless clients wait for clones.

        The pool adjusts again when a standby is made, and when no client waits any longer.
        """
        for _ in range(MADE_AT_ONCE - self._standbys.being_made()):
            held = self._standbys.held()
            state_id = most_lacking(held, wanted)
            if state_id is None or self._clone_semaphore.busy():
                return
            if held.total() >= limit and not self._remove_one(most_in_excess(held, wanted)):
                return
            self._begin(state_id)

    def _begin(self, state_id: str) -> None:
        pending = self._standbys.begin(state_id)
        if pending is None:
            return
        try:
            self._spawn(lambda: self._make(pending))
        except BaseException:  # no thread can be started
            self._standbys.settle(pending, None)
            self._standbys.end(pending)
            raise

    def _make(self, pending: PendingStandby) -> None:
        """Make a standby; forget the requests of a state if that fails."""
        try:
            self._maker.make(pending)
        except Abandoned:
            _log.debug("a standby of state %s is not needed any more", pending.state_id)
        except (EngineError, OSError) as error:
            self._give_up_on(pending.state_id, error)
        except Exception as error:
            # The top of a thread.
            _log.exception("cannot make a standby: an error in the engine")
            self._give_up_on(pending.state_id, error)
        finally:
            self._standbys.end(pending)
            self._wake.set()

    def _give_up_on(self, state_id: str, error: Exception) -> None:
        _log.info("no standby of state %s: %s", state_id, error)
        with self._lock:
            self._demand.forget(state_id)

    def _discard(self, standbys: list[Standby]) -> None:
        for standby in standbys:
            self._provisioner.discard(standby.clone)
