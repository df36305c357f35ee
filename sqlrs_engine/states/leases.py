"""States in use: a state that is being cloned or built upon cannot be deleted.

Lock order: leases first, instance locks second.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager

OnRetire = Callable[[frozenset[str]], object]


class Lease:
    """States kept from being deleted, until each of them is released."""

    def __init__(self, leases: "Leases", state_ids: Iterable[str]) -> None:
        self._leases = leases
        self._wanted = frozenset(state_ids)
        self._held: frozenset[str] = frozenset()

    def renew(self) -> None:
        """Keep the released states again; waits as ``Leases.lease`` does."""
        self._leases._take(self._wanted - self._held)
        self._held = self._wanted

    def release(self, *state_ids: str) -> None:
        """Stop keeping these states; those that are not kept are ignored."""
        released = self._held.intersection(state_ids)
        self._held -= released
        self._leases._give_back(self._leases._leased, released)


class Leases:
    """Tracks the states in use and those being deleted; no state is both.

    A *lease* prevents a deletion. A *borrowed* state can be deleted: the deletion notifies the
    borrowers by ``on_retire`` and waits for them.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leased: Counter[str] = Counter()
        self._borrowed: Counter[str] = Counter()
        self._retiring: set[str] = set()
        self._listeners: list[OnRetire] = []

    def on_retire(self, callback: OnRetire) -> None:
        """Call back, in the thread of a deletion, with the states that are about to be deleted."""
        self._listeners.append(callback)

    @contextmanager
    def lease(self, *state_ids: str) -> Iterator[Lease]:
        """Keep states from being deleted.

        Waits for a deletion under way, so check *inside* the block whether the states exist.
        """
        lease = Lease(self, state_ids)
        lease.renew()
        try:
            yield lease
        finally:
            lease.release(*state_ids)

    @contextmanager
    def borrow(self, state_id: str) -> Iterator[bool]:
        """Use a state for a moment in which a deletion can wait.

        Yields False, and keeps nothing, when it is being deleted already.
        """
        with self._changed:
            free = state_id not in self._retiring
            if free:
                self._borrowed[state_id] += 1
        try:
            yield free
        finally:
            if free:
                self._give_back(self._borrowed, [state_id])

    def leased(self, state_id: str) -> bool:
        """Return whether a state is in use now."""
        with self._changed:
            return state_id in self._leased

    def current(self) -> frozenset[str]:
        """Return the states in use now."""
        with self._changed:
            return frozenset(self._leased)

    @contextmanager
    def retire(self, state_ids: Iterable[str], patience_seconds: float = 0) -> Iterator[bool]:
        """Keep states from being leased, to delete them; not to be nested.

        Yields False, and keeps nothing, when one of them is leased, and still is after
        ``patience_seconds``. Waits for other deletions of the same states.
        """
        wanted = frozenset(state_ids)
        with self._changed:
            self._changed.wait_for(lambda: wanted.isdisjoint(self._leased), patience_seconds)
            self._changed.wait_for(lambda: self._retiring.isdisjoint(wanted))
            claimed = wanted.isdisjoint(self._leased)
            if claimed:
                self._retiring |= wanted
        try:
            if claimed:
                self._reclaim(wanted)
            yield claimed
        finally:
            if claimed:
                with self._changed:
                    self._retiring -= wanted
                    self._changed.notify_all()

    def _reclaim(self, state_ids: frozenset[str]) -> None:
        for callback in self._listeners:
            callback(state_ids)
        with self._changed:
            self._changed.wait_for(lambda: state_ids.isdisjoint(self._borrowed))

    def _take(self, state_ids: Collection[str]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._retiring.isdisjoint(state_ids))
            self._leased.update(state_ids)

    def _give_back(self, users: Counter[str], state_ids: Collection[str]) -> None:
        with self._changed:
            users.subtract(state_ids)
            for state_id in state_ids:
                if users[state_id] <= 0:
                    del users[state_id]
            self._changed.notify_all()
