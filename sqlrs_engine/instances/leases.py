"""States in use: what is being cloned or built upon cannot be deleted meanwhile.

Order, for whoever needs both: leases first, instance locks second.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Leases:
    """Which states are in use, and which are being deleted; never both."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._leased: Counter[str] = Counter()
        self._retiring: set[str] = set()

    @contextmanager
    def lease(self, *state_ids: str) -> Iterator[None]:
        """Keep states from being deleted.

        Waits for a deletion under way, so look whether the states exist *inside*.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._retiring.isdisjoint(state_ids))
            self._leased.update(state_ids)
        try:
            yield
        finally:
            with self._changed:
                self._leased.subtract(state_ids)
                self._leased += Counter()  # drops the zeros
                self._changed.notify_all()

    def leased(self, state_id: str) -> bool:
        """Tell whether a state is in use now."""
        with self._changed:
            return state_id in self._leased

    def current(self) -> frozenset[str]:
        """Return the states in use now."""
        with self._changed:
            return frozenset(self._leased)

    @contextmanager
    def retire(self, state_ids: Iterable[str]) -> Iterator[bool]:
        """Keep states from being leased, to delete them; not to be nested.

        Yields False, and keeps nothing, when one of them is leased. Waits for other
        deletions of the same states.
        """
        wanted = frozenset(state_ids)
        with self._changed:
            self._changed.wait_for(lambda: self._retiring.isdisjoint(wanted))
            claimed = wanted.isdisjoint(self._leased)
            if claimed:
                self._retiring |= wanted
        try:
            yield claimed
        finally:
            if claimed:
                with self._changed:
                    self._retiring -= wanted
                    self._changed.notify_all()
