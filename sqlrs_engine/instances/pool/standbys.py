"""The standbys that are ready, and those being made; each is handed over once."""

import threading
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from sqlrs_engine.instances.provisioner import RunningClone


@dataclass(frozen=True, slots=True, eq=False)
class Standby:
    """A running clone that no client has requested yet, and the memory that its server takes."""

    clone: RunningClone
    memory_bytes: int


class PendingStandby:
    """A standby that is being made; a thread may wait for it already."""

    def __init__(self, state_id: str) -> None:
        self.state_id = state_id
        self.claimed = False
        self.cancelled = False
        self._over = threading.Event()
        self._standby: Standby | None = None

    def free(self) -> bool:
        """Return whether it is unfinished, needed, and not yet claimed by a thread."""
        return not (self.claimed or self.cancelled or self._over.is_set())

    def wait(self) -> Standby | None:
        """Wait for the standby; return None when it could not be made."""
        self._over.wait()
        return self._standby

    def settle(self, standby: Standby | None) -> None:
        """End the waiting with a standby, or with None."""
        self._standby = standby
        self._over.set()


class Standbys:
    """The standbys, the oldest first; none is accepted before ``open``.

    Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._standbys: list[Standby] = []
        self._pending: list[PendingStandby] = []
        self._closed = True

    def open(self) -> None:
        """Accept standbys from now on."""
        with self._changed:
            self._closed = False

    def take(self, state_id: str) -> Standby | PendingStandby | None:
        """Remove and return a standby of a state, or claim one that is being made."""
        with self._changed:
            standby = self.take_ready(state_id)
            if standby is not None:
                return standby
            for pending in self._pending:
                if pending.state_id == state_id and pending.free():
                    pending.claimed = True
                    return pending
            return None

    def take_ready(self, state_id: str) -> Standby | None:
        """Remove and return a standby of a state that is ready."""
        with self._changed:
            for standby in self._standbys:
                if standby.clone.state_id == state_id:
                    self._standbys.remove(standby)
                    return standby
            return None

    def begin(self, state_id: str) -> PendingStandby | None:
        """Record that a standby is being made; return None when none is accepted."""
        with self._changed:
            if self._closed:
                return None
            pending = PendingStandby(state_id)
            self._pending.append(pending)
            return pending

    def settle(self, pending: PendingStandby, made: Standby | None) -> Standby | None:
        """Hand a new standby to its thread or keep it; return it when it is no longer needed."""
        with self._changed:
            wanted = pending.free() and not self._closed
            pending.settle(made if pending.claimed else None)
            if made is None or pending.claimed:
                return None
            if not wanted:
                return made
            self._standbys.append(made)
            return None

    def end(self, pending: PendingStandby) -> None:
        """Record that a pending standby needs no more work."""
        with self._changed:
            self._pending.remove(pending)
            self._changed.notify_all()

    def remove(self, unwanted: Collection[Standby]) -> list[Standby]:
        """Remove standbys; return those that were still present."""
        with self._changed:
            removed = [standby for standby in self._standbys if standby in unwanted]
            self._standbys = [standby for standby in self._standbys if standby not in unwanted]
            return removed

    def clear(self, state_ids: frozenset[str] | None = None) -> list[Standby]:
        """Remove and return all standbys, or those of some states; cancel those being made."""

        def selected(state_id: str) -> bool:
            return state_ids is None or state_id in state_ids

        with self._changed:
            for pending in self._pending:
                if selected(pending.state_id) and pending.free():
                    pending.cancelled = True
            return self.remove([each for each in self._standbys if selected(each.clone.state_id)])

    def close(self) -> list[Standby]:
        """Stop accepting standbys; remove and return all."""
        with self._changed:
            self._closed = True
            return self.clear()

    def wait_settled(self, seconds: float) -> bool:
        """Wait for the standbys that are being made and unclaimed; return False on timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: all(pending.claimed for pending in self._pending), seconds
            )

    def ready(self) -> list[Standby]:
        """Return the standbys that are ready."""
        with self._changed:
            return list(self._standbys)

    def being_made(self) -> int:
        """Return how many standbys are being made."""
        with self._changed:
            return len(self._pending)

    def held(self) -> Counter[str]:
        """Return how many standbys of each state are ready, or being made and unclaimed."""
        with self._changed:
            held = Counter(standby.clone.state_id for standby in self._standbys)
            held.update(pending.state_id for pending in self._pending if pending.free())
            return held
