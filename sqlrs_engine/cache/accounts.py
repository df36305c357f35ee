"""The size of the cached states and dumps, its limits, and the bytes that could be evicted."""

from collections.abc import Callable, Collection, Sequence

from sqlrs_engine import clock
from sqlrs_engine.config import Config
from sqlrs_engine.dumps import Dumps
from sqlrs_engine.errors import CacheUnavailable, EngineError
from sqlrs_engine.host.disk_space import EXHAUSTED_BYTES
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import StateStore
from sqlrs_engine.store.records import Json

from .candidates import Rules
from .capacity import MIN_STATE_AGE, Disk, Limits, Need, Phase, Usage


class Accounts:
    """Reads sizes and limits; safe to use from any thread."""

    def __init__(
        self,
        states: StateStore,
        dumps: Dumps,
        leases: Leases,
        config: Config,
        *,
        disk: Callable[[], Disk],
        shares_blocks: bool,
        clock: clock.Clock = clock.utc_now,
    ) -> None:
        """``disk`` measures the store's filesystem.

        ``shares_blocks`` is whether clones share their blocks with their source there.
        """
        self._states = states
        self._dumps = dumps
        self._leases = leases
        self._config = config
        self._disk = disk
        self.shares_blocks = shares_blocks
        self.now = clock

    def measure(self) -> Usage:
        """Return the sizes of the states and dumps, and the disk. Raises CacheUnavailable."""
        try:
            states, dumps = self._states.totals(), self._dumps.totals()
            return Usage(
                size_bytes=states.size_bytes + dumps.size_bytes,
                state_count=states.count,
                dump_bytes=dumps.size_bytes,
                dump_count=dumps.count,
                disk=self._disk(),
            )
        except (EngineError, OSError) as error:
            raise CacheUnavailable(details=str(error)) from error

    def exhausted(self) -> bool:
        """Return whether the disk is full at this moment; False when it cannot be measured."""
        try:
            return self._disk().free < EXHAUSTED_BYTES
        except OSError:
            return False

    def limits(self, usage: Usage) -> Limits:
        """Return the limits in force."""
        return Limits.configured(self._config, usage.disk.total, shares_blocks=self.shares_blocks)

    def rules(self, protect: Sequence[str] = ()) -> Rules:
        """Return the rules by which states must stay now; ``protect`` are more to keep."""
        now = self.now()
        return Rules(
            now=now,
            youngest=clock.shift(now, -self._config.seconds(MIN_STATE_AGE)),
            protected=frozenset(protect),
            leased=self._leases.leased,
        )

    def reclaimable(self, rules: Rules) -> tuple[int, int]:
        """Return the bytes that could be evicted, and the number of states that could not.

        Raises CacheUnavailable.
        """
        try:
            total = self._states.totals()
            held = self._states.held(
                rules.youngest, rules.now, rules.protected | self._leases.current()
            )
            dumps = self._dumps.evictable(rules.youngest)
        except EngineError as error:
            raise CacheUnavailable(details=str(error)) from error
        free = total.size_bytes - held.size_bytes
        return free + sum(dump.size_bytes for dump in dumps), held.count

    def size_of(self, state_ids: Collection[str]) -> int:
        """Return the total size of some states in bytes; deleted states count as 0."""
        states = map(self._states.get, state_ids)
        return sum(state.size_bytes or 0 for state in states if state is not None)

    def facts(self, phase: Phase, usage: Usage, limits: Limits, need: Need, rules: Rules) -> Json:
        """Return the facts for an error that refuses a need. Raises CacheUnavailable."""
        reclaimable, blocked = self.reclaimable(rules)
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
            "dump_bytes": usage.dump_bytes,
            "reclaimable_bytes": reclaimable,
            "blocked_count": blocked,
        }
