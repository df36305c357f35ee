"""The warm pool: running clones of the states most likely to be asked for.

A standby differs from an instance only in that it has no row. Handing one over is adding
the row; what an engine that was killed leaves of the pool is removed at the next start as
files without a row. Nobody else knows of standbys: they are no reference to their state,
and they go whenever somebody needs what they take.

Standbys are made in the background, when nobody waits for a clone of his own.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from sqlrs_engine import ids
from sqlrs_engine.errors import EngineError, NotFound, StorageFull
from sqlrs_engine.host.memory import USUAL_SERVER, Memory
from sqlrs_engine.instances.fifo_semaphore import FifoSemaphore
from sqlrs_engine.instances.provisioner import Provisioner, Ready
from sqlrs_engine.instances.services import Services
from sqlrs_engine.store.records import State

from .demand import Demand, most_in_excess, most_lacking, shares
from .standbys import Filling, Standby, Standbys

ENABLED = "pool.enabled"
MAX_STANDBYS = "pool.maxStandbys"
MAX_MEMORY = "pool.maxMemory"
RESERVE_MEMORY = "pool.reserveMemory"
IDLE = "pool.idle"

FILL_AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
"""Side by side each takes longer, and somebody may be waiting for the first."""
QUIET = 0.05
"""Seconds to wait after a hand-over: its client is about to connect."""
PATIENCE = 1.0
"""Seconds after which standbys are made even if hand-overs follow each other closely."""
LOOK_EVERY = 5.0
"""Seconds between two looks at the machine's memory and at idle standbys."""
STOP_SECONDS = 3.0

_DEFAULT_RESERVE_SHARE = 10
_SPACE_PATIENCE_SECONDS = 5.0

_log = logging.getLogger(__name__)

Spawn = Callable[[Callable[[], None]], None]


class Abandoned(Exception):  # noqa: N818  (not an error: the standby is not needed any more)
    """Nobody wants the standby that is being made."""


def in_thread(work: Callable[[], None]) -> None:
    """Run something in a thread of its own, which does not keep the engine alive."""
    threading.Thread(target=work, name="standby", daemon=True).start()


class Pool:
    """Keeps standbys and gives them away; safe to use from any thread.

    It keeps none before ``start`` and after ``stop``, which is for good.
    """

    def __init__(
        self,
        deps: Services,
        assembly: Provisioner,
        turns: FifoSemaphore,
        *,
        memory: Memory,
        now: Callable[[], float] = time.monotonic,
        spawn: Spawn = in_thread,
    ) -> None:
        """``turns`` are those of the clones that somebody waits for."""
        self._deps = deps
        self._assembly = assembly
        self._turns = turns
        self._memory = memory
        self._now = now
        self._spawn = spawn
        self._shelf = Standbys()
        self._shelf.close()
        self._lock = threading.Lock()  # guards what follows
        self._demand = Demand()
        self._quiet_from = 0.0
        self._first_asked: float | None = None
        self._server_size = USUAL_SERVER
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        deps.leases.on_retire(self._forget)
        turns.on_free(self.reconsider)

    def take(self, state_id: str) -> Ready | None:
        """Give away a standby of a state, None when there is none.

        One that is being made is waited for: it is ready sooner than another would be.
        The caller leases the state.
        """
        if not self._deps.config.value(ENABLED):
            return None
        ready = self._take(state_id)
        self._deps.metrics.asked_pool(hit=ready is not None)
        return ready

    def asked(self, state_id: str) -> None:
        """Note that an instance of a state was handed over."""
        now = self._now()
        with self._lock:
            self._demand.ask(state_id, now)
            self._first_asked = now if self._first_asked is None else self._first_asked
            self._quiet_from = min(now + QUIET, self._first_asked + PATIENCE)
        self._wake.set()

    def give_up(self) -> bool:
        """Remove all standbys, for what they take; say whether there were any.

        Their files are gone when it returns, unless that takes very long.
        """
        if not self._shelf.held():
            return False
        self._discard(self._shelf.clear())
        self._shelf.wait_settled(_SPACE_PATIENCE_SECONDS)
        self._deps.files.wait_idle(_SPACE_PATIENCE_SECONDS)
        return True

    def reconsider(self) -> None:
        """Look again soon: something has changed."""
        self._wake.set()

    def start(self) -> None:
        """Keep standbys, in the background, until ``stop``."""
        with self._lock:
            if self._stopping.is_set() or self._keeper is not None:
                return
            self._shelf.open()
            self._keeper = threading.Thread(target=self._keep, name="pool", daemon=True)
            self._keeper.start()

    def stop(self) -> None:
        """Remove all standbys and keep none any more."""
        with self._lock:
            self._stopping.set()
        standbys = self._shelf.close()
        self._wake.set()
        if self._keeper is not None:
            self._keeper.join()
        self._discard(standbys)
        if not self._shelf.wait_settled(STOP_SECONDS):
            _log.warning("a standby is still being made, the next start removes it")

    def standbys(self) -> list[Standby]:
        """Return the standbys there are."""
        return self._shelf.standbys()

    def tend(self) -> float | None:
        """Remove what is too much, begin to make what is missing.

        Returns the seconds after which to look again, None when there is nothing to look at.
        """
        now = self._now()
        with self._lock:
            quiet_in = self._quiet_from - now
            if quiet_in > 0:
                return quiet_in
            self._first_asked = None
            scores = self._demand.scores(now, self._deps.config.seconds(IDLE))
        unfit = [
            standby
            for standby in self._shelf.standbys()
            if standby.ready.state_id not in scores or not self._fits(standby.ready)
        ]
        self._discard(self._shelf.remove(unfit))
        limit = self._limit()
        wanted = shares(scores, limit)
        self._shrink(wanted, limit)
        self._fill(wanted, limit)
        return LOOK_EVERY if scores or self._shelf.held() else None

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                pause = self.tend()
            except Exception:
                _log.exception("cannot tend the standbys, trying again")
                pause = LOOK_EVERY
            self._wake.wait(pause)

    def _take(self, state_id: str) -> Ready | None:
        while (found := self._shelf.take(state_id)) is not None:
            standby = found.wait() if isinstance(found, Filling) else found
            if standby is None:
                return None
            if self._fits(standby.ready):
                return standby.ready
            self._assembly.discard(standby.ready)
        return None

    def _fits(self, ready: Ready) -> bool:
        """Return whether a standby is what a new instance would be, and runs."""
        return (
            ready.settings == self._assembly.settings()
            and self._deps.ports.in_range(ready.port)
            and ready.alive()
        )

    def _forget(self, state_ids: frozenset[str]) -> None:
        """Remove the standbys of states that are to be deleted."""
        with self._lock:
            for state_id in state_ids:
                self._demand.forget(state_id)
        self._discard(self._shelf.clear(state_ids))

    def _limit(self) -> int:
        """Return how many standbys there may be now."""
        settings = self._deps.config
        if not settings.value(ENABLED) or self._short_of_memory():
            return 0
        by_memory = int(settings.value(MAX_MEMORY)) // self._server_size
        return min(int(settings.value(MAX_STANDBYS)), by_memory)

    def _short_of_memory(self) -> bool:
        machine = self._memory.machine()
        if machine is None:
            return False
        reserve = self._deps.config.value(RESERVE_MEMORY)
        if reserve is None:
            reserve = machine.total // _DEFAULT_RESERVE_SHARE
        return machine.available < int(reserve)

    def _shrink(self, wanted: dict[str, int], limit: int) -> None:
        """Remove standbys until there are no more than the limit allows."""
        held = self._shelf.held()
        while held.total() > limit and self._remove_one(most_in_excess(held, wanted)):
            held = self._shelf.held()

    def _remove_one(self, state_id: str | None) -> bool:
        """Remove a standby of a state; False when there is none that could be."""
        standby = None if state_id is None else self._shelf.take_ready(state_id)
        if standby is None:
            return False
        self._discard([standby])
        return True

    def _fill(self, wanted: dict[str, int], limit: int) -> None:
        """Begin to make what is missing, as far as others leave room for it.

        The end of each, and of the clones that somebody waits for, wakes the keeper.
        """
        for _ in range(FILL_AT_ONCE - self._shelf.being_made()):
            held = self._shelf.held()
            state_id = most_lacking(held, wanted)
            if state_id is None or self._turns.taken():
                return
            if held.total() >= limit and not self._remove_one(most_in_excess(held, wanted)):
                return
            self._begin(state_id)

    def _begin(self, state_id: str) -> None:
        filling = self._shelf.begin(state_id)
        if filling is None:
            return
        try:
            self._spawn(lambda: self._make(filling))
        except BaseException:  # no thread to be had
            self._shelf.settle(filling, None)
            self._shelf.end(filling)
            raise

    def _make(self, filling: Filling) -> None:
        """Make a standby; a state of which none can be made is not in demand any more."""
        try:
            unwanted = self._settled(filling)
            if unwanted is not None:
                self._discard([unwanted])
        except Abandoned:
            pass
        except (EngineError, OSError) as error:
            self._give_up_on(filling, error)
        except Exception as error:
            _log.exception("making a standby broke")
            self._give_up_on(filling, error)
        finally:
            self._shelf.end(filling)
            self._wake.set()

    def _settled(self, filling: Filling) -> Standby | None:
        """Make a standby and put it in its place; return it when nobody wants it any more."""
        made = None
        with self._deps.leases.borrow(filling.state_id) as there:
            try:
                made = self._made(filling) if there else None
            finally:
                unwanted = self._shelf.settle(filling, made)
        return unwanted

    def _give_up_on(self, filling: Filling, error: Exception) -> None:
        _log.info("no standby of state %s: %s", filling.state_id, error)
        with self._lock:
            self._demand.forget(filling.state_id)

    def _made(self, filling: Filling) -> Standby:
        """Clone and start. Raises Abandoned, and what ``Assembly.make`` does."""

        def go_on() -> None:
            if filling.cancelled:
                raise Abandoned

        state = self._state(filling.state_id)
        if not self._deps.room.has_room(state.size_bytes or 0):
            raise StorageFull("the disk has no room for standbys")
        instance_id = ids.new_id()
        with self._deps.locks.hold(instance_id):
            ready = self._assembly.make(instance_id, state, go_on)
        try:
            size = self._memory.server(int(ready.started.runtime_id.partition(".")[0]))
            self._server_size = max(size, 1)
        except BaseException:
            self._assembly.discard(ready)
            raise
        return Standby(ready, size)

    def _state(self, state_id: str) -> State:
        state = self._deps.store.states.get(state_id)
        if state is None or not self._deps.states.exists(state_id):
            raise NotFound.of("state", state_id)
        return state

    def _discard(self, standbys: list[Standby]) -> None:
        for standby in standbys:
            self._assembly.discard(standby.ready)
