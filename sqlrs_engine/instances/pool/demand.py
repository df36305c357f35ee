"""Which states are asked for, and how many clones of each are worth keeping at hand."""

import math
from collections.abc import Mapping

HALF_LIFE = 10.0
"""Seconds after which what was asked counts half: about what a burst of requests lasts."""


class Demand:
    """Counts how often each state is asked for, forgetting gradually; times in seconds."""

    def __init__(self) -> None:
        self._asked: dict[str, tuple[float, float]] = {}

    def ask(self, state_id: str, now: float) -> None:
        """Count a request."""
        score, since = self._asked.get(state_id, (0.0, now))
        self._asked[state_id] = _faded(score, now - since) + 1, now

    def forget(self, state_id: str) -> None:
        """Count as if the state had never been asked for."""
        self._asked.pop(state_id, None)

    def scores(self, now: float, idle: float) -> dict[str, float]:
        """Return the count of each state asked for in the last ``idle`` seconds.

        The others are forgotten.
        """
        self._asked = {k: v for k, v in self._asked.items() if now - v[1] < idle}
        return {k: _faded(score, now - since) for k, (score, since) in self._asked.items()}


def shares(scores: Mapping[str, float], limit: int) -> dict[str, int]:
    """Divide ``limit`` clones among states; who gets none is left out.

    First one each, the most wanted first, then as many as their scores, in proportion.
    """
    given = dict.fromkeys(sorted(scores, key=lambda k: scores[k], reverse=True)[:limit], 1)
    for _ in range(limit - len(given)):
        hungry = [state_id for state_id, count in given.items() if count < _worth(scores[state_id])]
        if not hungry:
            break
        given[max(hungry, key=lambda k: scores[k] / (given[k] + 1))] += 1
    return given


def most_in_excess(held: Mapping[str, int], wanted: Mapping[str, int]) -> str | None:
    """Return the state that holds most beyond what is wanted, None when none does."""
    excess = {state_id: count - wanted.get(state_id, 0) for state_id, count in held.items()}
    found = max(excess, key=lambda k: excess[k], default=None)
    return found if found is not None and excess[found] > 0 else None


def most_lacking(held: Mapping[str, int], wanted: Mapping[str, int]) -> str | None:
    """Return the state that has the smallest part of what is wanted, None when all have it."""
    filled = {k: held.get(k, 0) / count for k, count in wanted.items() if held.get(k, 0) < count}
    return min(filled, key=lambda k: filled[k], default=None)


def _faded(score: float, seconds: float) -> float:
    return float(score * 0.5 ** (seconds / HALF_LIFE))


def _worth(score: float) -> int:
    return max(1, math.ceil(score - 0.5))
