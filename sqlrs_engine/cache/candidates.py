"""The states that may be evicted, in the order of their eviction."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlrs_engine.clock import Timestamp
from sqlrs_engine.store.records import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The reasons for which a state stays, besides states that depend on it.

    ``youngest`` is the latest creation time of a state that is old enough to be evicted.
    """

    now: Timestamp
    youngest: Timestamp
    protected: frozenset[str]
    leased: Callable[[str], bool]

    def keep(self, state: State) -> bool:
        """Return whether a state has to stay."""
        return (
            state.refcount > 0
            or state.created_at > self.youngest
            or (state.min_retention_until or "") > self.now
            or state.state_id in self.protected
            or self.leased(state.state_id)
        )


class Candidates:
    """The states of a store in the order of their eviction.

    Only leaves are evicted; a state becomes a leaf when its last child is evicted. The longest
    unused come first; among equals, the larger.
    """

    def __init__(self, states: Iterable[State], rules: Rules) -> None:
        self._states = {state.state_id: state for state in states}
        self._rules = rules
        self._children = Counter(
            state.parent_state_id for state in self._states.values() if state.parent_state_id
        )
        self._heap: list[tuple[Timestamp, int, str]] = []
        for state in self._states.values():
            self._offer(state)

    def pop(self) -> State | None:
        """Remove and return the next state; return None when no more can be evicted."""
        if not self._heap:
            return None
        return self._states[heapq.heappop(self._heap)[2]]

    def evicted(self, state: State) -> None:
        """Record that a state was evicted: its parent may be next."""
        del self._states[state.state_id]
        parent = self._states.get(state.parent_state_id or "")
        if parent is not None:
            self._children[parent.state_id] -= 1
            self._offer(parent)

    def _offer(self, state: State) -> None:
        if not self._children[state.state_id] and not self._rules.keep(state):
            used = state.last_used_at or state.created_at
            heapq.heappush(self._heap, (used, -(state.size_bytes or 0), state.state_id))
