"""How far a pull is."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal["resolving", "waiting", "downloading", "unpacking", "finishing"]

_SECONDS_BETWEEN = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What a pull does now and how much of it is done.

    ``resolving``: asks the registry what the reference means. ``waiting``: another pull does the
    same work. ``downloading``: layers are downloaded and unpacked at the same time; the bytes are
    those of the compressed layers that were not here before. ``unpacking``: the root file system
    is put together. ``finishing``: its PostgreSQL is made runnable.
    """

    phase: Phase
    done_bytes: int = 0
    total_bytes: int = 0
    done_layers: int = 0
    total_layers: int = 0


OnProgress = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Report nothing."""


class Reporter:
    """Reports a pull's progress: a new phase at once, bytes a few times a second; thread-safe."""

    def __init__(
        self, on_progress: OnProgress, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_progress = on_progress
        self._clock = clock
        self._lock = threading.Lock()
        self._phase: Phase = "resolving"
        self._bytes = [0, 0]
        self._layers = [0, 0]
        self._next = 0.0

    def phase(self, phase: Phase) -> None:
        """Report that another phase begins."""
        with self._lock:
            self._phase = phase
            self._report()

    def expect(self, layers: int, size: int) -> None:
        """Report how much is to be downloaded."""
        with self._lock:
            self._phase = "downloading"
            self._layers, self._bytes = [0, layers], [0, size]
            self._report()

    def bytes(self, count: int) -> None:
        """Count bytes that have come."""
        with self._lock:
            self._phase = "downloading"
            self._bytes[0] = min(self._bytes[0] + count, self._bytes[1])
            if self._clock() >= self._next:
                self._report()

    def layer(self) -> None:
        """Count a layer that is complete."""
        with self._lock:
            self._layers[0] += 1
            self._report()

    def _report(self) -> None:
        self._next = self._clock() + _SECONDS_BETWEEN
        self._on_progress(
            Progress(
                phase=self._phase,
                done_bytes=self._bytes[0],
                total_bytes=self._bytes[1],
                done_layers=self._layers[0],
                total_layers=self._layers[1],
            )
        )
