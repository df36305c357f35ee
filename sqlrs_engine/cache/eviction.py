"""Evicts dumps and states one by one, while jobs and clients use others.

Dumps go first: a state that was restored from one does not need it any more.

A state is retired first, so that it cannot be leased any more, and checked once more; then its row
is removed, then its files. Callers must not hold the lock of an instance: retiring waits for
deletions, which wait for instances.

The middle states of a chain are only stripped: nothing can be built on a state without a row, but
a state without files can be built again.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from sqlrs_engine.dumps import Dump, Dumps
from sqlrs_engine.errors import CacheUnavailable, Conflict, EngineError, StorageFull
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import StateFilter, StateStore
from sqlrs_engine.store.records import State

from .accounts import Accounts
from .candidates import Candidates, Rules
from .capacity import Goal, Usage

# Deleting the files of a state takes milliseconds; callers wait for it only when the space
# matters.
_SPACE_PATIENCE_SECONDS = 5.0

# By then, a job that waits for the same state has released the states that it no longer needs.
LEASE_PATIENCE_SECONDS = 5.0

_WAS_GONE = -1

_log = logging.getLogger(__name__)


class EvictionResult(Enum):
    """The outcome for a state that was to be evicted."""

    EVICTED = auto()
    STAYS = auto()
    WAS_GONE = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an eviction.

    ``cut_short`` is whether time was up before the goal was met.
    """

    evicted_count: int
    freed_bytes: int
    before: Usage
    after: Usage
    cut_short: bool

    def followed_by(self, other: "Outcome") -> "Outcome":
        """Return the result of this eviction together with another that continued it."""
        return Outcome(
            self.evicted_count + other.evicted_count,
            self.freed_bytes + other.freed_bytes,
            self.before,
            other.after,
            other.cut_short,
        )


class Evictor:
    """Removes dumps and states; one eviction at a time."""

    def __init__(
        self,
        states: StateStore,
        dumps: Dumps,
        files: StateFiles,
        leases: Leases,
        accounts: Accounts,
        metrics: Metrics,
    ) -> None:
        self._states = states
        self._dumps = dumps
        self._files = files
        self._leases = leases
        self._measure = accounts.measure
        self._metrics = metrics
        self._running = threading.Lock()
        self._evicted = 0

    @property
    def evicted(self) -> int:
        """The number of states and dumps evicted since the engine started."""
        return self._evicted

    def evict(self, rules: Rules, goal: Goal, seconds: float = math.inf) -> Outcome:
        """Evict until the goal is met or nothing more can be evicted.

        Stop after ``seconds`` if what was freed by then is bearable. Waits for an eviction under
        way first. Raises CacheUnavailable.
        """
        end = time.monotonic() + seconds
        with self._running:
            before = self._measure()
            # What was deleted before may only have to reach the disk.
            usage, count, freed = self._settled(before, goal), 0, 0
            evictions = self._evictions(rules)
            while not goal.met(usage, freed):
                if count and time.monotonic() > end and goal.bearable(usage, freed):
                    return Outcome(count, freed, before, usage, cut_short=True)
                size = next(evictions, None)
                if size is None:
                    break
                if size != _WAS_GONE:
                    count += 1
                    self._evicted += 1
                    self._metrics.evicted(size)
                    freed += size
                usage = self._settled(self._measure(), goal)
            return Outcome(count, freed, before, usage, cut_short=False)

    def _evictions(self, rules: Rules) -> Iterator[int]:
        """Evict dumps, then states; yield the bytes of each, or ``_WAS_GONE``."""
        for dump in self._evictable_dumps(rules):
            if self._dumps.evict(dump):
                yield dump.size_bytes
        candidates = self.candidates(rules)
        while (state := candidates.pop()) is not None:
            result = self._evict(state, rules)
            if result is not EvictionResult.STAYS:
                candidates.evicted(state)
                evicted = result is EvictionResult.EVICTED
                yield state.size_bytes or 0 if evicted else _WAS_GONE

    def _evictable_dumps(self, rules: Rules) -> list[Dump]:
        try:
            return self._dumps.evictable(rules.youngest)
        except EngineError as error:
            raise CacheUnavailable(details=str(error)) from error

    def strip(self, chain: Sequence[str], rules: Rules, goal: Goal) -> Outcome:
        """Drop the files of a chain's middle states, the last first, until the goal is bearable.

        The last state that has files stays: the next one is built on it.
        """
        end = time.monotonic() + LEASE_PATIENCE_SECONDS
        before = usage = self._measure()
        count = freed = 0
        states = filter(None, map(self._states.get, reversed(chain)))
        there = (state for state in states if state.size_bytes)
        next(there, None)
        while not goal.bearable(usage, freed):
            state = next(there, None)
            if state is None:
                break
            if self._strip(state.state_id, rules, end - time.monotonic()):
                count += 1
                self._metrics.evicted(state.size_bytes or 0)
                freed += state.size_bytes or 0
                usage = self._settled(self._measure(), goal)
        return Outcome(count, freed, before, usage, cut_short=False)

    def candidates(self, rules: Rules) -> Candidates:
        """Return the states in the order of their eviction. Raises CacheUnavailable."""
        try:
            states = self._states.find(StateFilter())
        except EngineError as error:
            raise CacheUnavailable(details=str(error)) from error
        return Candidates(states, rules)

    def _settled(self, usage: Usage, goal: Goal) -> Usage:
        """Return the usage, after the disk has regained deleted space if that matters."""
        if not goal.awaits_space(usage):
            return usage
        self._files.await_space(_SPACE_PATIENCE_SECONDS)
        return self._measure()

    def _evict(self, seen: State, rules: Rules) -> EvictionResult:
        """Evict one state unless it has come into use."""
        with self._leases.retire([seen.state_id]) as claimed:
            if not claimed:
                return EvictionResult.STAYS
            state = self._states.get(seen.state_id)
            if state is None:
                return EvictionResult.WAS_GONE
            if state.use_count != seen.use_count or rules.keep(state):
                return EvictionResult.STAYS
            try:
                self._remove(state)
            except Conflict as error:
                _log.info("state %s is not evicted: %s", state.state_id, error)
                return EvictionResult.STAYS
            except (EngineError, OSError):
                _log.exception("cannot evict state %s", state.state_id)
                return EvictionResult.STAYS
        _log.info("evicted state %s of %d bytes", state.state_id, state.size_bytes or 0)
        return EvictionResult.EVICTED

    def _strip(self, state_id: str, rules: Rules, patience_seconds: float) -> bool:
        """Drop the files of a state unless it is in use; its children need its row."""
        with self._leases.retire([state_id], patience_seconds) as claimed:
            state = self._states.get(state_id) if claimed else None
            if state is None or rules.keep(state):
                return False
            try:
                self._states.set_gone(state_id)
            except (EngineError, OSError):
                _log.exception("cannot drop the files of state %s", state_id)
                return False
            self._discard(self._files.state_dir(state.image_id, state_id))
        _log.info("dropped the files of state %s, %d bytes", state_id, state.size_bytes or 0)
        return True

    def _remove(self, state: State) -> None:
        container = self._files.state_dir(state.image_id, state.state_id)
        try:
            self._states.remove(state.state_id)
        except StorageFull:
            # No room even to remove the row: the files make some. Users of a state lease it
            # first, and this one is retired and has no dependants.
            if self._states.find(StateFilter(parent_state_id=state.state_id)):
                raise
            self._files.discard(container)
            self._files.await_space(_SPACE_PATIENCE_SECONDS)
            self._states.remove(state.state_id)
            return
        self._discard(container)

    def _discard(self, container: Path) -> None:
        """Remove files without a valid row; the next start of the engine removes them otherwise."""
        try:
            self._files.discard(container)
        except (EngineError, OSError):
            _log.exception("cannot remove %s", container)
