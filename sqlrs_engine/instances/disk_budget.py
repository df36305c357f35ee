"""Room on the disk for clones and what is done to them; the cache gives it, by evicting states."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

from sqlrs_engine.errors import StorageFull

Phase = Literal["prepare_step", "snapshot", "metadata_commit", "prepare_instance"]


class DiskBudget(Protocol):
    """What is asked of the cache, without holding the lock of an instance that is there."""

    def has_room(self, size: int) -> bool:
        """Return whether the disk has room, beyond its reserve, for a copy of so many bytes."""

    def make_room(self, phase: Phase, protect: Sequence[str] = (), growth: int = 0) -> None:
        """Evict other states if ``growth`` more bytes would pass the limits.

        ``protect`` is a chain of states that stay; when there is no room otherwise, those in
        its middle that nothing leases any more lose their files, and have to be built again.
        Raises StorageFull or CacheLimitTooSmall when there is no room even so, in the
        phases before a state is there; CacheUnavailable when it cannot be told.
        """

    def building(self, protect: Sequence[str], size: int) -> AbstractContextManager[None]:
        """Make room for a build on a clone of ``size`` bytes, which others then respect.

        Raises what ``make_room`` does.
        """

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Sequence[str] = (), growth: int = 0
    ) -> bool:
        """Give ``growth`` bytes back after a failure for want of space, if it can.

        Returns whether to try once more.
        """

    def exhausted(self) -> bool:
        """Return whether the disk is full this very moment."""


class Unlimited:
    """Room without end: for want of a cache that has limits."""

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
        """Return False: there is nothing to give back."""
        return False

    def exhausted(self) -> bool:
        """Return False."""
        return False
