"""A summary of the last eviction, kept across restarts."""

from dataclasses import asdict, dataclass

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.store import MetaStore
from sqlrs_engine.store.records import Json

from .capacity import Phase

_KEY = "last_eviction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Eviction:
    """An eviction: its trigger, what was evicted, and what could not be."""

    completed_at: Timestamp
    trigger: Phase
    evicted_count: int
    freed_bytes: int
    blocked_count: int
    reclaimable_bytes: int
    usage_bytes_before: int
    usage_bytes_after: int
    free_bytes_before: int
    free_bytes_after: int


class LastEviction:
    """Stores the last eviction that evicted a state or a dump."""

    def __init__(self, meta: MetaStore) -> None:
        self._meta = meta

    def save(self, eviction: Eviction) -> None:
        """Store an eviction in place of the former one."""
        self._meta.put(_KEY, asdict(eviction))

    def last(self) -> Json | None:
        """Return the last eviction as the API shows it."""
        return self._meta.get(_KEY)
