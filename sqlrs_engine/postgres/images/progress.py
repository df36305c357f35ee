"""How far a pull is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["resolving", "waiting", "downloading", "unpacking", "finishing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a pull does now and how much of it is done.

    ``resolving``: asks the registry what the reference means. ``waiting``: another pull does the
    same work. ``downloading``: layers are downloaded and unpacked at the same time; the bytes are
    those of the compressed layers that are not here yet. ``unpacking``: the root file system is put
    together. ``finishing``: its PostgreSQL is made runnable.
    """

    phase: Phase
    done_bytes: int = 0
    total_bytes: int = 0
    done_layers: int = 0
    total_layers: int = 0


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Report nothing."""
