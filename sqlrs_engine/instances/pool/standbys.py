"""The standbys that are ready, and those being made; each is given away once."""

import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlrs_engine.instances.provisioner import Ready


@dataclass(frozen=True, slots=True, eq=False)
class Standby:
    """A clone that waits for somebody to ask; ``memory_bytes`` is what its server takes."""

    ready: Ready
    memory_bytes: int


class Filling:
    """A standby being made; somebody may be waiting for it already."""

    def __init__(self, state_id: str) -> None:
        self.state_id = state_id
        self.claimed = False
        self.cancelled = False
        self._over = threading.Event()
        self._standby: Standby | None = None

    def free(self) -> bool:
        """Return whether it is still to become a standby, and nobody's yet."""
        return not (self.claimed or self.cancelled or self._over.is_set())

    def wait(self) -> Standby | None:
        """Wait for the standby; None when nothing came of it."""
        self._over.wait()
        return self._standby

    def settle(self, standby: Standby | None) -> None:
        """Give whoever waits what was made for him."""
        self._standby = standby
        self._over.set()


class Standbys:
    """Standbys by state, the oldest first; safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._standbys: list[Standby] = []
        self._fillings: list[Filling] = []
        self._closed = False

    def open(self) -> None:
        """Take standbys."""
        with self._changed:
            self._closed = False

    def take(self, state_id: str) -> Standby | Filling | None:
        """Give away a standby of a state, or else one being made, for the caller alone."""
        with self._changed:
            standby = self.take_ready(state_id)
            if standby is not None:
                return standby
            for filling in self._fillings:
                if filling.state_id == state_id and filling.free():
                    filling.claimed = True
                    return filling
            return None

    def take_ready(self, state_id: str) -> Standby | None:
        """Give away a standby of a state."""
        with self._changed:
            for standby in self._standbys:
                if standby.ready.state_id == state_id:
                    self._standbys.remove(standby)
                    return standby
            return None

    def begin(self, state_id: str) -> Filling | None:
        """Note that a standby is being made; None when none is taken any more."""
        with self._changed:
            if self._closed:
                return None
            filling = Filling(state_id)
            self._fillings.append(filling)
            return filling

    def settle(self, filling: Filling, made: Standby | None) -> Standby | None:
        """Put what was made in its place; return it when nobody wants it any more."""
        with self._changed:
            wanted = filling.free() and not self._closed
            filling.settle(made if filling.claimed else None)
            if made is None or filling.claimed:
                return None
            if not wanted:
                return made
            self._standbys.append(made)
            return None

    def end(self, filling: Filling) -> None:
        """Note that nothing is left to do for a filling."""
        with self._changed:
            self._fillings.remove(filling)
            self._changed.notify_all()

    def remove(self, unwanted: Collection[Standby]) -> list[Standby]:
        """Take away standbys; return those that were still there."""
        with self._changed:
            removed = [standby for standby in self._standbys if standby in unwanted]
            self._standbys = [standby for standby in self._standbys if standby not in unwanted]
            return removed

    def clear(self, state_ids: frozenset[str] | None = None) -> list[Standby]:
        """Take away all standbys, or those of some states, and give up what is being made."""

        def meant(state_id: str) -> bool:
            return state_ids is None or state_id in state_ids

        with self._changed:
            for filling in self._fillings:
                if meant(filling.state_id) and filling.free():
                    filling.cancelled = True
            return self.remove([each for each in self._standbys if meant(each.ready.state_id)])

    def close(self) -> list[Standby]:
        """Take no standbys any more, and return those there were."""
        with self._changed:
            self._closed = True
            return self.clear()

    def wait_settled(self, seconds: float) -> bool:
        """Wait for what is being made and nobody's; False when some is left after that time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(filling.claimed for filling in self._fillings), seconds
            )

    def standbys(self) -> list[Standby]:
        """Return what is ready."""
        with self._changed:
            return list(self._standbys)

    def being_made(self) -> int:
        """Return how many are being made."""
        with self._changed:
            return len(self._fillings)

    def held(self) -> Counter[str]:
        """Return how many there are, or will be, of each state."""
        with self._changed:
            held = Counter(standby.ready.state_id for standby in self._standbys)
            held.update(filling.state_id for filling in self._fillings if filling.free())
            return held
