"""The demand for states, and the number of standbys of each that is worth keeping."""

import math
from collections.abc import Mapping

HALF_LIFE = 10.0
"""Seconds after which a request counts half: about as long as a burst of requests lasts."""


class Demand:
    """Counts the requests of each state with exponential decay; times are in seconds."""

    def __init__(self) -> None:
        self._requests: dict[str, tuple[float, float]] = {}

    def count(self, state_id: str, now: float) -> None:
        """Count a request."""
        score, since = self._requests.get(state_id, (0.0, now))
        self._requests[state_id] = _decayed(score, now - since) + 1, now

    def forget(self, state_id: str) -> None:
        """Forget the requests of a state."""
        self._requests.pop(state_id, None)

    def scores(self, now: float, idle: float) -> dict[str, float]:
        """Return the score of each state requested in the last ``idle`` seconds.

        The requests of the other states are forgotten.
        """
        self._requests = {k: v for k, v in self._requests.items() if now - v[1] < idle}
        return {k: _decayed(score, now - since) for k, (score, since) in self._requests.items()}


def shares(scores: Mapping[str, float], limit: int) -> dict[str, int]:
    """Divide ``limit`` standbys among states; a state that gets none is left out.

    Each state gets one, the highest scores first. The rest are divided in proportion to the scores;
    no state gets more than its score warrants.
    """
    given = dict.fromkeys(sorted(scores, key=lambda k: scores[k], reverse=True)[:limit], 1)
    for _ in range(limit - len(given)):
        below_cap = [
            state_id for state_id, count in given.items() if count < _cap(scores[state_id])
        ]
        if not below_cap:
            break
        given[max(below_cap, key=lambda k: scores[k] / (given[k] + 1))] += 1
    return given


def most_in_excess(held: Mapping[str, int], wanted: Mapping[str, int]) -> str | None:
    """Return the state with the most unwanted standbys, None when there are none."""
    excess = {state_id: count - wanted.get(state_id, 0) for state_id, count in held.items()}
    found = max(excess, key=lambda k: excess[k], default=None)
    return found if found is not None and excess[found] > 0 else None


def most_lacking(held: Mapping[str, int], wanted: Mapping[str, int]) -> str | None:
    """Return the state with the smallest share of its wanted standbys, None when none lacks any."""
    filled = {k: held.get(k, 0) / count for k, count in wanted.items() if held.get(k, 0) < count}
    return min(filled, key=lambda k: filled[k], default=None)


def _decayed(score: float, seconds: float) -> float:
    return float(score * 0.5 ** (seconds / HALF_LIFE))


def _cap(score: float) -> int:
    return max(1, math.ceil(score - 0.5))
