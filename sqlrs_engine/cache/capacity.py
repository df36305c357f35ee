"""The limits of the cache, and when it is under pressure.

There are two limits: one on the apparent size of the states and dumps, and a reserve of free disk
space. Exceeding the high watermark of the size limit, or falling below the reserve, is *pressure*:
dumps and states are evicted until the low watermark is met and the reserve is free again. Pressure
alone fails no job: see ``enforcement``.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlrs_engine.config import Config

USAGE_ABOVE_HIGH_WATERMARK = "usage_above_high_watermark"
PHYSICAL_FREE_BELOW_RESERVE = "physical_free_below_reserve"

MIN_STATE_AGE = "cache.capacity.minStateAge"

_SMALLEST_DEFAULT_RESERVE = 10 * 1024**3

Phase = Literal[
    "startup_recovery",
    "prepare_step",
    "snapshot",
    "metadata_commit",
    "prepare_instance",
    "dump_upload",
]


@dataclass(frozen=True, slots=True)
class Disk:
    """The filesystem of the store, in bytes."""

    total: int
    free: int

    @classmethod
    def of(cls, root: Path) -> "Disk":
        """Return the filesystem of a directory; ``free`` is what ordinary users can use."""
        status = os.statvfs(root)
        return cls(status.f_blocks * status.f_frsize, status.f_bavail * status.f_frsize)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The apparent size of the states and dumps, that of the dumps alone, and their disk."""

    size_bytes: int
    state_count: int
    dump_bytes: int = 0
    dump_count: int = 0
    disk: Disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """The bytes that a caller is about to add to the cache's size, and to the disk.

    The two differ where clones share blocks, and for what is on the disk already.
    """

    size_bytes: int = 0
    disk_bytes: int = 0


NOTHING = Need()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The configured limits, for a disk of a certain size.

    ``max_bytes`` is the configured limit, 0 for none; ``effective_max`` is what the reserve
    leaves of the disk, or that limit if it is less. ``sizes_count`` is whether the apparent size
    counts: it says nothing about the disk where clones share blocks, so it does
    not count there without a configured limit.
    """

    max_bytes: int
    reserve: int
    effective_max: int
    high_watermark: float
    low_watermark: float
    sizes_count: bool = True

    @classmethod
    def configured(cls, config: Config, total: int, *, shares_blocks: bool = False) -> "Limits":
        """Return the limits in force on a disk of ``total`` bytes.

        Where clones share blocks, the apparent size of the states may exceed that of the disk.
        """
        max_bytes = config.value("cache.capacity.maxBytes") or 0
        reserve = config.value("cache.capacity.reserveBytes")
        if reserve is None:
            reserve = default_reserve(total)
        room = max(0, total - reserve)
        least = max_bytes if shares_blocks and room else min(max_bytes, room)
        return cls(
            max_bytes=max_bytes,
            reserve=reserve,
            effective_max=least if max_bytes else room,
            high_watermark=config.value("cache.capacity.highWatermark"),
            low_watermark=config.value("cache.capacity.lowWatermark"),
            sizes_count=bool(max_bytes) or not shares_blocks,
        )

    def pressure(self, usage: Usage, need: Need = NOTHING) -> list[str]:
        """Return the reasons to evict; empty without pressure."""
        reasons = []
        if self.above(self.high_watermark, usage, need):
            reasons.append(USAGE_ABOVE_HIGH_WATERMARK)
        if self.short_of_space(usage, need):
            reasons.append(PHYSICAL_FREE_BELOW_RESERVE)
        return reasons

    def above(self, watermark: float, usage: Usage, need: Need = NOTHING) -> bool:
        """Return whether the need takes the size of the cache above a watermark."""
        size = usage.size_bytes + need.size_bytes
        return self.sizes_count and size > watermark * self.effective_max

    def short_of_space(self, usage: Usage, need: Need = NOTHING) -> bool:
        """Return whether the need takes the free space of the disk below the reserve."""
        return usage.disk.free - need.disk_bytes < self.reserve


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The condition under which an eviction may end.

    ``at_least`` is the number of bytes to free in any case: a quota or the space for metadata
    may be used up while the disk reports free space.
    """

    limits: Limits
    need: Need = NOTHING
    at_least: int = 0

    def met(self, usage: Usage, freed: int) -> bool:
        """Return whether enough was freed."""
        return (
            freed >= self.at_least
            and not self.limits.above(self.limits.low_watermark, usage, self.need)
            and not self.limits.short_of_space(usage, self.need)
        )

    def bearable(self, usage: Usage, freed: int) -> bool:
        """Return whether enough was freed for the need and the hard limits."""
        size = usage.size_bytes + self.need.size_bytes
        return (
            freed >= self.at_least
            and (not self.limits.max_bytes or size <= self.limits.max_bytes)
            and usage.disk.free >= self.need.disk_bytes
        )

    def awaits_space(self, usage: Usage) -> bool:
        """Return whether the disk has to regain deleted space before the goal can be met."""
        return self.at_least > 0 or self.limits.short_of_space(usage, self.need)


def default_reserve(total: int) -> int:
    """Return the bytes kept free of a disk when nothing is configured.

    10 GiB or a tenth of the disk, whichever is more, but at most half: otherwise a small disk
    would have no room for any state.
    """
    return min(max(_SMALLEST_DEFAULT_RESERVE, total // 10), total // 2)
