"""Enforces the limits: makes room by eviction, and refuses what cannot fit.

Hard limits and soft limits:

* ``maxBytes`` is hard: a state that would take the cache beyond it is refused.
* Before a state is refused, middle states of its own chain are stripped: see ``eviction``.
* Where copies share their blocks, only ``maxBytes`` looks at the states' apparent size.
* An upload of a dump counts like a state, and shares no blocks with anything.
* The reserve and the watermarks are soft: dumps and states are evicted to meet them, and when that
  is not enough, work continues. Other files may fill the disk.
* The size of the disk is hard: where a clone copies every block, there has to be room for it.
* A reserve that leaves nothing of the whole disk is a mistake in the configuration.
"""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlrs_engine.dumps import UPLOAD
from sqlrs_engine.errors import CacheUnavailable, EngineError, StorageFull

from .accounts import Accounts
from .candidates import Rules
from .capacity import NOTHING, Goal, Need, Phase, Usage
from .eviction import Evictor, Outcome
from .last_eviction import Eviction, LastEviction
from .refusals import Refused, check

# The phases that can be refused; in later phases the state exists already and is useful.
_REFUSABLE: Collection[Phase] = ("prepare_step", "snapshot", UPLOAD)

_COPYING: Collection[Phase] = ("prepare_step", "prepare_instance")
PATIENCE_SECONDS = 0.3
"""How long callers wait for soft limits to be met; the rest is done in the background."""

_log = logging.getLogger(__name__)


_BUILD_BYTES = 64 * 1024**2
_BUILD_SHARE = 64  # of the disk's size, at most


@dataclass(frozen=True, slots=True, eq=False)
class _Build:
    """A build under way, and the disk space that it is about to take."""

    disk_bytes: int


class Enforcement:
    """The disk budget of instances, builds and dumps, kept by eviction: see ``DiskBudget``.

    Safe to use from any thread that does not hold the lock of an instance.
    """

    def __init__(
        self,
        accounts: Accounts,
        evictor: Evictor,
        last_eviction: LastEviction,
        *,
        release_spare: Callable[[], bool] = lambda: False,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """``release_spare`` frees disk space that is in use only as a precaution.

        It returns whether it freed any, and is called before states are evicted because the disk is
        short of space. Evictions that take longer than ``patience_seconds`` continue in the
        background, as far as the need allows.
        """
        self._accounts = accounts
        self._evictor = evictor
        self._last_eviction = last_eviction
        self._release_spare = release_spare
        self._patience_seconds = patience_seconds
        self._builds: list[_Build] = []
        self._starting = threading.Lock()
        self._in_background = threading.Event()
        self._stopped = False

    def has_room(self, size: int) -> bool:
        """See ``DiskBudget.has_room``."""
        usage = self._accounts.measure()
        need = Need(disk_bytes=0 if self._accounts.shares_blocks else size)
        return not self._accounts.limits(usage).short_of_space(usage, need)

    def exhausted(self) -> bool:
        """See ``DiskBudget.exhausted``."""
        return self._accounts.exhausted()

    @contextmanager
    def building(self, protect: Sequence[str], size: int) -> Iterator[None]:
        """See ``DiskBudget.building``."""
        build = _Build(self._taken(size))
        self._builds.append(build)
        try:
            self._make_room("prepare_step", protect, size, build)
            yield
        finally:
            self._builds.remove(build)

    def make_room(self, phase: Phase, protect: Sequence[str] = (), growth: int = 0) -> None:
        """See ``DiskBudget.make_room``."""
        try:
            self._make_room(phase, protect, growth)
        except CacheUnavailable as error:
            if phase in _REFUSABLE:
                raise
            _log.warning("cannot evict now: %s", error)

    def _make_room(
        self, phase: Phase, protect: Sequence[str], growth: int, mine: "_Build | None" = None
    ) -> None:
        """Evict for this need and for the builds under way; refuse what does not fit.

        The needs of the other builds are soft like the reserve: they refuse nothing.
        """
        own = self._need(phase, growth)
        need = replace(own, disk_bytes=own.disk_bytes + self._under_way(mine).disk_bytes)
        usage = self._accounts.measure()
        limits = self._accounts.limits(usage)
        if limits.short_of_space(usage, need) and self._release_spare():
            usage = self._accounts.measure()
        rules = self._accounts.rules(protect)
        goal = Goal(limits=limits, need=need)
        # An instance adds no state, and a client waits for it: soft limits are left to the builds.
        waived = phase == "prepare_instance" or self._in_background.is_set()
        if limits.pressure(usage, need) and not (waived and goal.bearable(usage, 0)):
            outcome = self._evictor.evict(rules, goal, self._patience_seconds)
            self._record(phase, outcome, rules)
            usage = outcome.after
            if outcome.cut_short:
                self._continue_in_background(phase, protect)
        if phase in _REFUSABLE:
            usage = self._strip_chain(phase, protect, usage, Goal(limits=limits, need=own))
            check(self._accounts, phase, usage, limits, own, rules)

    def _strip_chain(self, phase: Phase, chain: Sequence[str], usage: Usage, goal: Goal) -> Usage:
        """Strip a chain's middle states if that avoids a refusal; return the usage."""
        if goal.bearable(usage, 0):
            return usage
        outcome = self._strip(chain, goal)
        self._record(phase, outcome, self._accounts.rules(chain))
        return outcome.after

    def _strip(self, chain: Sequence[str], goal: Goal) -> Outcome:
        """Drop the files of a chain's middle states, however young they are."""
        rules = self._accounts.rules()
        return self._evictor.strip(chain, replace(rules, youngest=rules.now), goal)

    def _continue_in_background(self, phase: Phase, protect: Sequence[str]) -> None:
        """Evict the rest in the background, because a client waits for this thread."""
        with self._starting:
            if self._in_background.is_set():
                return
            self._in_background.set()
        try:
            threading.Thread(
                target=self._evict_the_rest, args=(phase, protect), name="eviction", daemon=True
            ).start()
        except RuntimeError as error:  # no thread can be started: the next step continues
            self._in_background.clear()
            _log.warning("cannot continue the eviction: %s", error)

    def _evict_the_rest(self, phase: Phase, protect: Sequence[str]) -> None:
        """Evict until the goal is met, in short runs that let other evictions in between."""
        try:
            total: Outcome | None = None
            while not self._stopped:
                usage, rules = self._accounts.measure(), self._accounts.rules(protect)
                goal = Goal(limits=self._accounts.limits(usage), need=self._under_way())
                outcome = self._evictor.evict(rules, goal, self._patience_seconds)
                total = outcome if total is None else total.followed_by(outcome)
                if not outcome.cut_short:
                    break
            if total is not None:
                self._record(phase, total, rules)
        except EngineError as error:
            _log.warning("cannot continue the eviction: %s", error)
        finally:
            self._in_background.clear()

    def stop(self) -> None:
        """End the eviction in the background; the next start of the engine continues it."""
        self._stopped = True

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Sequence[str] = (), growth: int = 0
    ) -> bool:
        """See ``DiskBudget.relieve``."""
        if isinstance(failure, Refused):
            return False
        try:
            return self._relieve(phase, protect, growth)
        except CacheUnavailable as error:
            _log.warning("cannot evict now: %s", error)
            return False

    def _relieve(self, phase: Phase, protect: Sequence[str], growth: int) -> bool:
        evicted = self._evictor.evicted
        spared = self._release_spare()
        goal = Goal(
            limits=self._accounts.limits(self._accounts.measure()),
            need=self._under_way(),
            at_least=max(growth, 1),
        )
        rules = self._accounts.rules(protect)
        outcome = self._evictor.evict(rules, goal)
        if outcome.freed_bytes < goal.at_least:
            rest = replace(goal, need=NOTHING, at_least=goal.at_least - outcome.freed_bytes)
            outcome = outcome.followed_by(self._strip(protect, rest))
        self._record(phase, outcome, rules)
        # More free space proves nothing: a failed attempt frees its own. Another job that
        # failed at the same time may have evicted every state.
        return spared or outcome.evicted_count > 0 or self._evictor.evicted > evicted

    def _need(self, phase: Phase, growth: int) -> Need:
        copied = phase == UPLOAD or (phase in _COPYING and not self._accounts.shares_blocks)
        return Need(
            size_bytes=growth if phase in _REFUSABLE else 0, disk_bytes=growth if copied else 0
        )

    def _taken(self, size: int) -> int:
        """Return the disk space that a build on a clone of ``size`` bytes is about to take."""
        if not self._accounts.shares_blocks:
            return size
        return min(_BUILD_BYTES, self._accounts.measure().disk.total // _BUILD_SHARE)

    def _under_way(self, mine: "_Build | None" = None) -> Need:
        """Return the disk space that the builds under way, except one, are about to take."""
        others = [build.disk_bytes for build in list(self._builds) if build is not mine]
        return Need(disk_bytes=sum(others))

    def _record(self, phase: Phase, outcome: Outcome, rules: Rules) -> None:
        """Store a summary of an eviction that evicted something."""
        if not outcome.evicted_count:
            return
        reclaimable, blocked = self._accounts.reclaimable(rules)
        eviction = Eviction(
            completed_at=self._accounts.now(),
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
        _log.info(
            "evicted %d states and dumps, %d bytes", eviction.evicted_count, eviction.freed_bytes
        )
        try:
            self._last_eviction.save(eviction)
        except EngineError as error:
            _log.warning("cannot store the summary of the eviction: %s", error)
