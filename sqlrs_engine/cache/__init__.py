"""The cache of states: how much it may take, what is evicted, what a prepare would hit.

* ``capacity``: the limits, and when there is pressure
* ``candidates``, ``eviction``, ``summary``: which states go, how, and what came of it
* ``enforcement``: room for what is coming, or the reason why there is none
* ``explain``, ``differences``: hit or miss, and which input made it a miss
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.durations import format as format_duration
from sqlrs_engine.errors import StorageFull
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Json

from .capacity import MIN_STATE_AGE, Disk, Phase
from .enforcement import PATIENCE_SECONDS, Enforcement
from .explain import Plan, explain
from .last_eviction import LastEviction

__all__ = ["Cache", "Disk", "Phase"]

_EXHAUSTED_BYTES = 4 * 1024**2


class Cache:
    """The cache's accounts and limits; safe to use from any thread."""

    def __init__(
        self,
        store: Store,
        files: StateFiles,
        leases: Leases,
        config: Config,
        *,
        plan: Callable[[Any], Plan],
        exists: Callable[[str], bool],
        disk: Callable[[], Disk],
        shares_blocks: bool,
        clock: Clock = utc_now,
        metrics: Metrics | None = None,
        give_up_spare: Callable[[], bool] = lambda: False,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """``plan`` returns the plan of a prepare request, and raises as ``prepare`` does.

        ``exists`` tells whether a state can be cloned. ``disk`` measures the store's
        filesystem; ``shares_blocks`` tells whether clones take no space of their own there.
        ``give_up_spare`` removes what takes space and is of no need to anyone, and says
        whether there was any: it is called before states are evicted for the disk's sake.
        Evictions that take longer than ``patience_seconds`` go on in the background, as far
        as what is needed now allows.
        """
        self._store = store
        self._exists = exists
        self._disk = disk
        self._config = config
        self._plan = plan
        self._summary = LastEviction(store.meta)
        self._enforcement = Enforcement(
            store.states,
            files,
            leases,
            config,
            self._summary,
            disk=disk,
            shares_blocks=shares_blocks,
            clock=clock,
            metrics=metrics or Metrics(),
            give_up_spare=give_up_spare,
            patience_seconds=patience_seconds,
        )

    def status(self) -> Json:
        """Return sizes and limits, fields without a value left out.

        Raises CacheUnavailable.
        """
        usage = self._enforcement.measure()
        limits = self._enforcement.limits(usage)
        reclaimable, blocked = self._enforcement.reclaimable()
        status: Json = {
            "usage_bytes": usage.size_bytes,
            "effective_max_bytes": limits.effective_max,
            "reserve_bytes": limits.reserve,
            "high_watermark": limits.high_watermark,
            "low_watermark": limits.low_watermark,
            "min_state_age": format_duration(self._config.seconds(MIN_STATE_AGE)),
            "store_total_bytes": usage.disk.total,
            "store_free_bytes": usage.disk.free,
            "state_count": usage.state_count,
            "reclaimable_bytes": reclaimable,
            "blocked_count": blocked,
            "pressure_reasons": limits.pressure(usage),
        }
        if limits.max_bytes:
            status["configured_max_bytes"] = limits.max_bytes
        last = self._summary.last()
        if last is not None:
            status["last_eviction"] = last
        return status

    def explain(self, request: Any) -> Json:
        """Return what a prepare would hit, fields without a value left out.

        On a miss, also the nearest cached state and which inputs differ from those of the
        preparation most like this one. Raises what ``plan`` raises.
        """
        return explain(self._plan(request), self._store.states, self._exists)

    def make_room(self, phase: Phase, protect: Sequence[str] = (), growth: int = 0) -> None:
        """Evict states if the limits are passed, or would be by ``growth`` bytes more.

        States in ``protect`` stay, and so does all that is leased, referred to, or younger
        than ``minStateAge``. ``protect`` is a chain, parents first: where there is no room
        otherwise, the files of its middle states go as well, of those that nothing leases.
        To be called without holding an instance's lock.

        In the phases ``prepare_step`` and ``snapshot``, raises CacheLimitTooSmall and
        StorageFull when there is no room even so, CacheUnavailable when it cannot be told.
        In the others nothing is raised: what there is, is of use.
        """
        self._enforcement.make_room(phase, protect, growth)

    def building(self, protect: Sequence[str], size: int) -> AbstractContextManager[None]:
        """Make room for a build on a clone of ``size`` bytes, as ``make_room`` does.

        While the block runs, others make room beside it: builds that begin together would
        otherwise find the same space free.
        """
        return self._enforcement.building(protect, size)

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Sequence[str] = (), growth: int = 0
    ) -> bool:
        """Give space back after a phase has failed for want of it.

        Evicts ``growth`` bytes or more, whatever the limits say, and waits until the disk
        has them. Returns whether anything was evicted, here or by others meanwhile: then the
        phase is worth another try, one only. Nothing is evicted when ``failure`` comes from
        ``make_room``.
        """
        return self._enforcement.relieve(phase, failure, protect, growth)

    def stop(self) -> None:
        """End an eviction that goes on in the background: the engine stops."""
        self._enforcement.stop()

    def has_room(self, size: int) -> bool:
        """Return whether a copy of ``size`` bytes leaves the disk its reserve.

        Raises CacheUnavailable.
        """
        return self._enforcement.has_room(size)

    def exhausted(self) -> bool:
        """Return whether the disk is full this very moment.

        A server without space may be unable to say so: its log has no room either.
        """
        try:
            return self._disk().free < _EXHAUSTED_BYTES
        except OSError:
            return False
