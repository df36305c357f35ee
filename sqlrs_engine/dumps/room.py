"""The disk space that uploads take."""

from typing import Literal, Protocol

from sqlrs_engine.errors import StorageFull

Phase = Literal["dump_upload"]
UPLOAD: Phase = "dump_upload"


class Room(Protocol):
    """Makes room for uploads; ``cache.enforcement`` implements it (see ``DiskBudget``)."""

    def make_room(self, phase: Phase, *, growth: int) -> None:
        """Evict if the limits would be exceeded by ``growth`` more bytes.

        Raises StorageFull, CacheLimitTooSmall, CacheUnavailable.
        """

    def relieve(self, phase: Phase, failure: StorageFull, *, growth: int) -> bool:
        """Free ``growth`` bytes or more after a write failed; return whether a retry can help."""
