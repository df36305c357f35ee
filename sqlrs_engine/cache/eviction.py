"""Evicts states one by one, safely beside everything else that goes on.

A state is retired first, so that nobody can begin to use it; looked at once more; then its
row goes, then its files. Callers must hold no instance's lock: retiring waits for deletions,
and those wait for instances.

The middle states of a chain are only stripped: without its row nothing could be built on a
state, but without its files it can be built anew.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from sqlrs_engine.errors import CacheUnavailable, Conflict, EngineError, StorageFull
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import StateFilter, StateStore
from sqlrs_engine.store.records import State

from .candidates import Candidates, Rules
from .capacity import Goal, Usage

# Deleting the files of a state takes milliseconds; it is only waited for when the
# space matters.
_SPACE_PATIENCE_SECONDS = 5.0

# A job that waits for the same state has given back what it needs no more by then.
_LEASE_PATIENCE_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Fate(Enum):
    """What became of a state that was to be evicted."""

    EVICTED = auto()
    STAYS = auto()
    WAS_GONE = auto()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What went in an eviction, and what there was before and after.

    ``cut_short`` tells that time was up before all went that should.
    """

    evicted_count: int
    freed_bytes: int
    before: Usage
    after: Usage
    cut_short: bool

    def followed_by(self, other: "Outcome") -> "Outcome":
        """Return what came of this eviction and another that went on with it."""
        return Outcome(
            self.evicted_count + other.evicted_count,
            self.freed_bytes + other.freed_bytes,
            self.before,
            other.after,
            other.cut_short,
        )


class Evictor:
    """Removes states; one eviction at a time."""

    def __init__(
        self,
        states: StateStore,
        files: StateFiles,
        leases: Leases,
        measure: Callable[[], Usage],
        metrics: Metrics,
    ) -> None:
        self._states = states
        self._files = files
        self._leases = leases
        self._measure = measure
        self._metrics = metrics
        self._running = threading.Lock()
        self._evicted = 0

    @property
    def evicted(self) -> int:
        """How many states were evicted so far."""
        return self._evicted

    def evict(self, rules: Rules, goal: Goal, seconds: float = math.inf) -> Outcome:
        """Evict until the goal is met or nothing more can go.

        Or for so many seconds, if what there is then is bearable. Another eviction under way
        is waited for first.
        """
        end = time.monotonic() + seconds
        with self._running:
            before = self._measure()
            # What was deleted before may have only to reach the disk.
            usage, count, freed = self._settled(before, goal), 0, 0
            candidates = None
            while not goal.met(usage, freed):
                if count and time.monotonic() > end and goal.bearable(usage, freed):
                    return Outcome(count, freed, before, usage, cut_short=True)
                candidates = candidates or self.candidates(rules)
                state = candidates.pop()
                if state is None:
                    break
                fate = self._evict(state, rules)
                if fate is Fate.STAYS:
                    continue
                candidates.gone(state)
                if fate is Fate.EVICTED:
                    count += 1
                    self._evicted += 1
                    self._metrics.evicted(state.size_bytes or 0)
                    freed += state.size_bytes or 0
                usage = self._settled(self._measure(), goal)
            return Outcome(count, freed, before, usage, cut_short=False)

    def strip(self, chain: Sequence[str], rules: Rules, goal: Goal) -> Outcome:
        """Drop the files of a chain's middle states, the last first, until the goal is bearable.

        The last state that is there stays: it is what is built upon.
        """
        end = time.monotonic() + _LEASE_PATIENCE_SECONDS
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
        """Return the states in the order in which they would go. Raises CacheUnavailable."""
        try:
            states = self._states.find(StateFilter())
        except EngineError as error:
            raise CacheUnavailable(details=str(error)) from error
        return Candidates(states, rules)

    def _settled(self, usage: Usage, goal: Goal) -> Usage:
        """Return the usage, once the disk has back what was given up if that matters."""
        if not goal.awaits_space(usage):
            return usage
        self._files.await_space(_SPACE_PATIENCE_SECONDS)
        return self._measure()

    def _evict(self, seen: State, rules: Rules) -> Fate:
        """Evict one state unless it has come into use."""
        with self._leases.retire([seen.state_id]) as claimed:
            if not claimed:
                return Fate.STAYS
            state = self._states.get(seen.state_id)
            if state is None:
                return Fate.WAS_GONE
            if state.use_count != seen.use_count or rules.keep(state):
                return Fate.STAYS
            try:
                self._remove(state)
            except Conflict as error:
                _log.info("state %s is not evicted: %s", state.state_id, error)
                return Fate.STAYS
            except (EngineError, OSError):
                _log.exception("cannot evict state %s", state.state_id)
                return Fate.STAYS
        _log.info("evicted state %s of %d bytes", state.state_id, state.size_bytes or 0)
        return Fate.EVICTED

    def _strip(self, state_id: str, rules: Rules, patience_seconds: float) -> bool:
        """Drop the files of a state unless it is in use; its row stays for its children."""
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
            # No room even to note that it is gone: its files make some. Whatever needs a
            # state has leased it before, and this one is retired and has no dependants.
            if self._states.find(StateFilter(parent_state_id=state.state_id)):
                raise
            self._files.discard(container)
            self._files.await_space(_SPACE_PATIENCE_SECONDS)
            self._states.remove(state.state_id)
            return
        self._discard(container)

    def _discard(self, container: Path) -> None:
        """Remove files that their row does not vouch for any more; the next start does, too."""
        try:
            self._files.discard(container)
        except (EngineError, OSError):
            _log.exception("cannot remove %s", container)
