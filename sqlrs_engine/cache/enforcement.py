"""Keeps the limits: makes room by eviction, and refuses what cannot fit.

What is a limit, and what only a wish:

* ``maxBytes`` is a limit: a state that would take the cache beyond it is refused.
* Before anything is refused, the preparation's own middle states go: see ``eviction``.
* Where copies share their blocks, only ``maxBytes`` looks at the states' apparent size.
* The reserve and the watermarks are wishes: states are evicted for them as far as they can
  be, and when that is not enough work goes on all the same. A disk that is fuller than the
  reserve asks for may be full of other things.
* The disk's end is a limit: where a clone copies every block, there has to be room for it.
* A reserve that leaves nothing of the whole disk is a mistake in the configuration.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlrs_engine import clock
from sqlrs_engine.config import Config
from sqlrs_engine.errors import CacheLimitTooSmall, CacheUnavailable, EngineError, StorageFull
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import StateStore
from sqlrs_engine.store.records import Json

from .candidates import Rules
from .capacity import MIN_STATE_AGE, NOTHING, Disk, Goal, Limits, Need, Phase, Usage
from .eviction import Evictor, Outcome
from .last_eviction import Eviction, LastEviction

# The phases that can still be refused; later on the state is there, and of use.
_REFUSABLE: Collection[Phase] = ("prepare_step", "snapshot")

_COPYING: Collection[Phase] = ("prepare_step", "prepare_instance")
PATIENCE_SECONDS = 0.3
"""How long somebody may have to wait for wishes to be met; the rest is done beside."""

_log = logging.getLogger(__name__)


_BUILD_BYTES = 64 * 1024**2
_BUILD_SHARE = 64  # of the disk's size, at most


@dataclass(frozen=True, slots=True, eq=False)
class _Build:
    """A build under way, and what it is about to take of the disk."""

    disk_bytes: int


class Refused(StorageFull):
    """There is no room, after all that can be evicted was: trying again is of no use."""


class Enforcement:
    """Measures, evicts, refuses; safe to use from any thread that holds no instance's lock."""

    def __init__(
        self,
        states: StateStore,
        files: StateFiles,
        leases: Leases,
        config: Config,
        summary: LastEviction,
        *,
        disk: Callable[[], Disk],
        shares_blocks: bool,
        clock: clock.Clock,
        metrics: Metrics,
        give_up_spare: Callable[[], bool],
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """``shares_blocks`` tells whether clones take no space of their own.

        ``give_up_spare`` removes what takes space and is of no need to anyone, and says
        whether there was any.
        """
        self._states = states
        self._leases = leases
        self._config = config
        self._summary = summary
        self._disk = disk
        self._shares_blocks = shares_blocks
        self._clock = clock
        self._evictor = Evictor(states, files, leases, self.measure, metrics)
        self._give_up_spare = give_up_spare
        self._builds: list[_Build] = []
        self._patience_seconds = patience_seconds
        self._beginning = threading.Lock()
        self._going_on = threading.Event()
        self._stopped = False

    def measure(self) -> Usage:
        """Return what the states take, and the disk. Raises CacheUnavailable."""
        try:
            totals = self._states.totals()
            return Usage(size_bytes=totals.size_bytes, state_count=totals.count, disk=self._disk())
        except (EngineError, OSError) as error:
            raise CacheUnavailable(details=str(error)) from error

    def limits(self, usage: Usage) -> Limits:
        """Return the limits in force."""
        return Limits.configured(self._config, usage.disk.total, shares_blocks=self._shares_blocks)

    def reclaimable(self) -> tuple[int, int]:
        """Return the size of all that could be evicted, and the number of states that couldn't."""
        return self._reclaimable(self._rules(()))

    def has_room(self, size: int) -> bool:
        """Return whether a copy of ``size`` bytes leaves the disk its reserve."""
        usage = self.measure()
        need = Need(disk_bytes=0 if self._shares_blocks else size)
        return not self.limits(usage).short_of_space(usage, need)

    @contextmanager
    def building(self, protect: Sequence[str], size: int) -> Iterator[None]:
        """Make room for a build and count what it takes; see ``Cache.building``."""
        build = _Build(self._taken(size))
        self._builds.append(build)
        try:
            self._make_room("prepare_step", protect, size, build)
            yield
        finally:
            self._builds.remove(build)

    def make_room(self, phase: Phase, protect: Sequence[str] = (), growth: int = 0) -> None:
        """Evict under pressure; see ``Cache.make_room``."""
        try:
            self._make_room(phase, protect, growth)
        except CacheUnavailable as error:
            if phase in _REFUSABLE:
                raise
            _log.warning("nothing is evicted now: %s", error)

    def _make_room(
        self, phase: Phase, protect: Sequence[str], growth: int, mine: "_Build | None" = None
    ) -> None:
        """Evict for what is needed here and by builds under way; refuse what does not fit.

        What others are about to take is a wish like the reserve, and refuses nobody.
        """
        own = self._need(phase, growth)
        need = replace(own, disk_bytes=own.disk_bytes + self._under_way(mine).disk_bytes)
        usage = self.measure()
        limits = self.limits(usage)
        if limits.short_of_space(usage, need) and self._give_up_spare():
            usage = self.measure()
        rules = self._rules(protect)
        goal = Goal(limits=limits, need=need)
        # An instance adds no state, and somebody waits for it: wishes are left to the builds.
        waived = phase == "prepare_instance" or self._going_on.is_set()
        if limits.pressure(usage, need) and not (waived and goal.bearable(usage, 0)):
            outcome = self._evictor.evict(rules, goal, self._patience_seconds)
            self._record(phase, outcome, rules)
            usage = outcome.after
            if outcome.cut_short:
                self._go_on(phase, protect)
        if phase in _REFUSABLE:
            usage = self._stripped(phase, protect, usage, Goal(limits=limits, need=own))
            self._check(phase, usage, limits, own, rules)

    def _stripped(self, phase: Phase, chain: Sequence[str], usage: Usage, goal: Goal) -> Usage:
        """Return the usage, after middle states of a chain went if it would be refused."""
        if goal.bearable(usage, 0):
            return usage
        outcome = self._strip(chain, goal)
        self._record(phase, outcome, self._rules(chain))
        return outcome.after

    def _strip(self, chain: Sequence[str], goal: Goal) -> Outcome:
        """Drop the files of a chain's middle states; their age is that of the preparation."""
        rules = self._rules(())
        return self._evictor.strip(chain, replace(rules, youngest=rules.now), goal)

    def _go_on(self, phase: Phase, protect: Sequence[str]) -> None:
        """Evict what is left to evict in the background: somebody waits for this thread."""
        with self._beginning:
            if self._going_on.is_set():
                return
            self._going_on.set()
        try:
            threading.Thread(
                target=self._evict_the_rest, args=(phase, protect), name="eviction", daemon=True
            ).start()
        except RuntimeError as error:  # no thread to be had: the next step goes on
            self._going_on.clear()
            _log.warning("eviction does not go on: %s", error)

    def _evict_the_rest(self, phase: Phase, protect: Sequence[str]) -> None:
        """Evict a little at a time, so that others can between, until all is well."""
        try:
            total: Outcome | None = None
            while not self._stopped:
                usage, rules = self.measure(), self._rules(protect)
                goal = Goal(limits=self.limits(usage), need=self._under_way())
                outcome = self._evictor.evict(rules, goal, self._patience_seconds)
                total = outcome if total is None else total.followed_by(outcome)
                if not outcome.cut_short:
                    break
            if total is not None:
                self._record(phase, total, rules)
        except EngineError as error:
            _log.warning("eviction does not go on: %s", error)
        finally:
            self._going_on.clear()

    def stop(self) -> None:
        """Leave the rest of an eviction to the next start."""
        self._stopped = True

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Sequence[str] = (), growth: int = 0
    ) -> bool:
        """Give space back after a write has failed for want of it; see ``Cache.relieve``."""
        if isinstance(failure, Refused):
            return False
        try:
            return self._relieve(phase, protect, growth)
        except CacheUnavailable as error:
            _log.warning("nothing is evicted now: %s", error)
            return False

    def _relieve(self, phase: Phase, protect: Sequence[str], growth: int) -> bool:
        evicted = self._evictor.evicted
        spared = self._give_up_spare()
        goal = Goal(
            limits=self.limits(self.measure()),
            need=self._under_way(),
            at_least=max(growth, 1),
        )
        rules = self._rules(protect)
        outcome = self._evictor.evict(rules, goal)
        if outcome.freed_bytes < goal.at_least:
            rest = replace(goal, need=NOTHING, at_least=goal.at_least - outcome.freed_bytes)
            outcome = outcome.followed_by(self._strip(protect, rest))
        self._record(phase, outcome, rules)
        # Not whether there is more space: a failed attempt gives back its own. But another
        # job, failing at the same time, may have evicted all there was.
        return spared or outcome.evicted_count > 0 or self._evictor.evicted > evicted

    def _need(self, phase: Phase, growth: int) -> Need:
        copied = phase in _COPYING and not self._shares_blocks
        return Need(
            size_bytes=growth if phase in _REFUSABLE else 0, disk_bytes=growth if copied else 0
        )

    def _taken(self, size: int) -> int:
        """Return what a build on a clone of ``size`` bytes is about to take of the disk."""
        if not self._shares_blocks:
            return size
        return min(_BUILD_BYTES, self.measure().disk.total // _BUILD_SHARE)

    def _under_way(self, mine: "_Build | None" = None) -> Need:
        """Return what the builds under way, but for one, are about to take."""
        others = [build.disk_bytes for build in list(self._builds) if build is not mine]
        return Need(disk_bytes=sum(others))

    def _rules(self, protect: Sequence[str]) -> Rules:
        now = self._clock()
        return Rules(
            now=now,
            youngest=clock.shift(now, -self._config.seconds(MIN_STATE_AGE)),
            protected=frozenset(protect),
            leased=self._leases.leased,
        )

    def _reclaimable(self, rules: Rules) -> tuple[int, int]:
        try:
            total = self._states.totals()
            held = self._states.held(
                rules.youngest, rules.now, rules.protected | self._leases.current()
            )
        except EngineError as error:
            raise CacheUnavailable(details=str(error)) from error
        return total.size_bytes - held.size_bytes, held.count

    def _record(self, phase: Phase, outcome: Outcome, rules: Rules) -> None:
        """Persist what was evicted, if anything was."""
        if not outcome.evicted_count:
            return
        reclaimable, blocked = self._reclaimable(rules)
        eviction = Eviction(
            completed_at=self._clock(),
            trigger=phase,
            evicted_count=outcome.evicted_count,
            freed_bytes=outcome.freed_bytes,
            blocked_count=blocked,
            reclaimable_bytes=reclaimable,
            usage_bytes_before=outcome.before.size_bytes,
            usage_bytes_after=outcome.after.size_bytes,
            free_bytes_before=outcome.before.disk.free,
            free_bytes_after=outcome.after.disk.free,
        )
        _log.info("evicted %d states, %d bytes", eviction.evicted_count, eviction.freed_bytes)
        try:
            self._summary.save(eviction)
        except EngineError as error:
            _log.warning("the summary of the eviction is lost: %s", error)

    def _check(self, phase: Phase, usage: Usage, limits: Limits, need: Need, rules: Rules) -> None:
        """Raise CacheLimitTooSmall or StorageFull when what is needed does not fit."""
        if limits.effective_max <= 0:
            raise CacheLimitTooSmall(
                "the reserve leaves no room for the cache: lower cache.capacity.reserveBytes",
                facts=self._numbers(phase, usage, limits, need, rules),
            )
        if limits.max_bytes and usage.size_bytes + need.size_bytes > limits.max_bytes:
            numbers = self._numbers(phase, usage, limits, need, rules)
            if self._own_size(rules) + need.size_bytes > limits.max_bytes:
                raise CacheLimitTooSmall(
                    "the states of this prepare do not fit into the cache: raise "
                    "cache.capacity.maxBytes",
                    facts=numbers,
                )
            raise Refused(
                "the cache is full, and every state in it is in use or too young to be evicted: "
                "delete states or instances, or raise cache.capacity.maxBytes",
                facts=numbers,
            )
        if usage.disk.free < need.disk_bytes:
            raise Refused(
                "the disk of the state store has no room for another copy, and nothing can be "
                "evicted: delete states or instances, or free disk space",
                facts=self._numbers(phase, usage, limits, need, rules),
            )

    def _own_size(self, rules: Rules) -> int:
        """Return the size of the protected states: what no eviction could help with."""
        protected = (self._states.get(state_id) for state_id in rules.protected)
        return sum(state.size_bytes or 0 for state in protected if state is not None)

    def _numbers(
        self, phase: Phase, usage: Usage, limits: Limits, need: Need, rules: Rules
    ) -> Json:
        """Return an error's facts."""
        reclaimable, blocked = self._reclaimable(rules)
        return {
            "phase": phase,
            "reasons": limits.pressure(usage, need),
            "needed_bytes": need.size_bytes,
            "usage_bytes": usage.size_bytes,
            "configured_max_bytes": limits.max_bytes,
            "effective_max_bytes": limits.effective_max,
            "reserve_bytes": limits.reserve,
            "store_free_bytes": usage.disk.free,
            "store_total_bytes": usage.disk.total,
            "state_count": usage.state_count,
            "reclaimable_bytes": reclaimable,
            "blocked_count": blocked,
        }
