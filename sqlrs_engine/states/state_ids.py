"""The ids of states: a hash of everything that can change the result.

``state_id`` is the SHA-256 of the canonical JSON of ``{format, input, kind, step}``, where
the input is the image's digest or the parent state. ``FORMAT`` changes when the recipe
does, never with the engine's version, so states outlive upgrades.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import Any

FORMAT = 1


def step_hash(step: dict[str, Any]) -> str:
    """Return the hash of what a step does, whatever it is applied to."""
    return _hash(step)


def state_id(input_id: str, kind: str, step: str) -> str:
    """Return the id of the state that a step (its hash) makes of its input."""
    return _hash({"format": FORMAT, "input": input_id, "kind": kind, "step": step})


def signature(kind: str, image_id: str, steps: Iterable[str], *, plan_only: bool) -> str:
    """Return a hash that identical jobs share."""
    return _hash({"kind": kind, "image": image_id, "steps": [*steps], "plan_only": plan_only})


def _hash(value: Any) -> str:
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
