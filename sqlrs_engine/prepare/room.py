"""Room for what a job writes; the cache gives it, by evicting states."""

from collections.abc import Collection
from typing import Literal, Protocol

from ..errors import StorageFull

Phase = Literal["prepare_step", "snapshot", "metadata_commit", "prepare_instance"]


class Room(Protocol):
    """What jobs ask of the cache. Not to be called while holding an instance's lock."""

    def make_room(self, phase: Phase, protect: Collection[str] = (), growth: int = 0) -> None:
        """Evict other states if ``growth`` more bytes would pass the limits.

        Raises StorageFull or CacheLimitTooSmall when there is no room even so, in the
        phases before a state is there; CacheUnavailable when it cannot be told.
        """

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Collection[str] = (), growth: int = 0
    ) -> bool:
        """Give space back after a failure for want of it; tell whether to try once more."""

    def exhausted(self) -> bool:
        """Tell whether the disk is full this very moment."""


class Unlimited:
    """Room without end: for jobs without a cache that has limits."""

    def make_room(self, phase: Phase, protect: Collection[str] = (), growth: int = 0) -> None:
        """Do nothing."""

    def relieve(
        self, phase: Phase, failure: StorageFull, protect: Collection[str] = (), growth: int = 0
    ) -> bool:
        """Return False: there is nothing to give back."""
        return False

    def exhausted(self) -> bool:
        """Return False."""
        return False
