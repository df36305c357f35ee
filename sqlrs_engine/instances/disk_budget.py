"""Disk space for clones, builds and snapshots; the cache frees it by evicting states."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from sqlrs_engine.errors import StorageFull

Phase = Literal["prepare_step", "snapshot", "metadata_commit", "prepare_instance"]


class DiskBudget(Protocol):
    """Limits the disk space of instances and builds; ``cache.enforcement`` implements it.

    Callers must not hold the lock of an existing instance.
    """

    def has_room(self, size: int) -> bool:
        """Return whether a copy of ``size`` bytes leaves the disk its reserve.

        Raises CacheUnavailable.
        """

    def make_room(self, phase: Phase, protect: Sequence[str] = (), growth: int = 0) -> None:
        """Evict states if the limits are exceeded, or would be by ``growth`` more bytes.

        States that are leased, have dependants, or are younger than ``minStateAge`` stay, and so do
        those in ``protect``, a chain of states, parents first. When there is no room otherwise,
        middle states of the chain that are not leased lose their files, and have to be built again.

        In the phases ``prepare_step`` and ``snapshot``, raises StorageFull or CacheLimitTooSmall
        when there is no room even so, CacheUnavailable when the sizes cannot be read. In the other
        phases nothing is raised: the state exists already and is useful.
        """

    def building(self, protect: Sequence[str], size: int) -> AbstractContextManager[None]:
        """Make room for a build on a clone of ``size`` bytes, and count it during the block.

        Builds that begin at the same time would otherwise rely on the same free space. Raises
        what ``make_room`` raises.
        """

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Sequence[str] = (), growth: int = 0
    ) -> bool:
        """Free ``growth`` bytes or more after a write failed because the disk was full.

        Evicts states, whatever the limits are, and waits until the disk has regained their space.
        Return whether something was evicted, here or by another thread in the meantime: then a
        retry can succeed. Evict nothing when ``failure`` comes from ``make_room``.
        """

    def exhausted(self) -> bool:
        """Return whether the disk is full at this moment."""


class Unlimited:
    """A budget without limits."""

    def has_room(self, size: int) -> bool:
        """Return True."""
        return True

    def make_room(self, phase: Phase, protect: Sequence[str] = (), growth: int = 0) -> None:
        """Do nothing."""

    def building(self, protect: Sequence[str], size: int) -> AbstractContextManager[None]:
        """Do nothing."""
        return nullcontext()

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Sequence[str] = (), growth: int = 0
    ) -> bool:
        """Return False: there is nothing to free."""
        return False

    def exhausted(self) -> bool:
        """Return False."""
        return False
