"""Reports on the cache for clients."""

from collections.abc import Callable
from typing import Any

from sqlrs_engine.config import Config
from sqlrs_engine.durations import format as format_duration
from sqlrs_engine.store import StateStore
from sqlrs_engine.store.records import Json

from .accounts import Accounts
from .capacity import MIN_STATE_AGE
from .explain import Plan, explain
from .last_eviction import LastEviction


class CacheReport:
    """The status of the cache, and what a prepare would hit; safe to use from any thread."""

    def __init__(
        self,
        accounts: Accounts,
        last_eviction: LastEviction,
        states: StateStore,
        config: Config,
        *,
        plan: Callable[[Any], Plan],
        exists: Callable[[str], bool],
    ) -> None:
        """``plan`` returns the plan of a prepare request and raises what planning raises.

        ``exists`` returns whether a state can be cloned.
        """
        self._accounts = accounts
        self._last_eviction = last_eviction
        self._states = states
        self._config = config
        self._plan = plan
        self._exists = exists

    def status(self) -> Json:
        """Return sizes and limits, without the fields that have no value.

        Raises CacheUnavailable.
        """
        usage = self._accounts.measure()
        limits = self._accounts.limits(usage)
        reclaimable, blocked = self._accounts.reclaimable(self._accounts.rules())
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
            "dump_bytes": usage.dump_bytes,
            "dump_count": usage.dump_count,
            "copy_on_write": self._accounts.shares_blocks,
            "reclaimable_bytes": reclaimable,
            "blocked_count": blocked,
            "pressure_reasons": limits.pressure(usage),
        }
        if limits.max_bytes:
            status["configured_max_bytes"] = limits.max_bytes
        last = self._last_eviction.last()
        if last is not None:
            status["last_eviction"] = last
        return status

    def explain(self, request: Any) -> Json:
        """Return what a prepare would hit, without the fields that have no value.

        On a miss, also return the nearest cached state and the inputs that differ from those of
        the most similar prepare. Raises what planning raises.
        """
        return explain(self._plan(request), self._states, self._exists)
