"""What states depend on beyond what their ids say: files that their steps were seen to read.

The id that is computed from what a plan foresees is *planned*. A state of that id may have observed
inputs. As long as they are what they were, the state is the one that is wanted. When they are not,
another id takes the place of the planned one: a hash of it and of what the inputs are now. So an id
still names one content, no state is ever replaced, and a file that is changed back leads to the
state it led to before.

States that have observed inputs are few, so they are held in memory and others cost nothing.
"""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlrs_engine.store import StateStore
from sqlrs_engine.store.records import ObservedInput

UNSEEN = ObservedInput("unseen", "", None)
"""Stands for all that a step may have read without being seen."""

Values = Mapping[tuple[str, str], str]
"""The values of inputs by kind and path."""

ValueOf = Callable[[str | None, ObservedInput], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The id that takes the place of a planned one, and why.

    ``values`` are those of all inputs that count in it. ``changed`` are the inputs that are not
    what they were for ``instead_of``, the id that would be used otherwise; None if no input has
    changed and the planned id stands.
    """

    state_id: str
    values: Values = field(default_factory=dict)
    changed: tuple[ObservedInput, ...] = ()
    instead_of: str | None = None


class ObservedInputs:
    """The observed inputs of all states; safe to use from any thread."""

    def __init__(self, store: StateStore, value_of: ValueOf) -> None:
        """``value_of`` returns what an input is now below a step's root (None: it has none)."""
        self._store = store
        self._value_of = value_of
        self._lock = threading.Lock()
        # Those of states that were deleted may stay here until the next start: they are still true.
        self._inputs = {
            # A state that was recovered without them is not used again.
            state_id: inputs or (UNSEEN,)
            for state_id, inputs in store.observed().items()
        }

    def resolve(self, planned_id: str, root: str | None) -> Resolution:
        """Return the id of the state that a step makes now of what its plan foresees and more."""
        state_id, values, changed = planned_id, {}, ()
        instead_of = None
        while inputs := self._inputs.get(state_id):
            now = {_key(each): self._value_of(root, each) for each in inputs}
            differing = tuple(each for each in inputs if now[_key(each)] != each.value)
            values.update(now)
            if not differing:
                break
            state_id, changed, instead_of = _variant(state_id, now), differing, state_id
        return Resolution(
            state_id=state_id, values=values, changed=changed, instead_of=instead_of
        )

    def of(self, state_id: str) -> tuple[ObservedInput, ...]:
        """Return a state's observed inputs."""
        return self._inputs.get(state_id, ())

    def published(self, state_id: str, inputs: Sequence[ObservedInput]) -> None:
        """Take note of the inputs with which a state was published."""
        with self._lock:
            self._remember(state_id, inputs)

    def replace(self, state_id: str, inputs: Sequence[ObservedInput]) -> None:
        """Replace the inputs of a state."""
        with self._lock:
            self._store.set_observed(state_id, inputs)
            self._remember(state_id, inputs)

    def _remember(self, state_id: str, inputs: Sequence[ObservedInput]) -> None:
        if inputs:
            self._inputs[state_id] = tuple(inputs)
        else:
            self._inputs.pop(state_id, None)


def _key(given: ObservedInput) -> tuple[str, str]:
    return given.kind, given.path


def _variant(state_id: str, now: Values) -> str:
    """Return the id of the state that other values of the same inputs lead to."""
    values = sorted([kind, path, value] for (kind, path), value in now.items())
    canonical = json.dumps({"observed": values, "planned": state_id}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
