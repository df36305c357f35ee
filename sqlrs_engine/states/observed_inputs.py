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
import os
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
    """The id of the state that a step makes: the planned one or another in its place.

    ``root`` is the directory that paths of inputs are relative to, ``inputs`` are those of the
    state so far. ``values`` are those of the inputs that count in its id, if that is not the
    planned one. ``changed`` are the inputs that are not what they were for ``instead_of``, the id
    that would be used otherwise; None if the planned id stands.
    """

    state_id: str
    root: str | None
    inputs: tuple[ObservedInput, ...] = ()
    values: Values = field(default_factory=dict)
    changed: tuple[ObservedInput, ...] = ()
    instead_of: str | None = None


def as_planned(planned_id: str, root: str | None) -> Resolution:
    """Resolve to the planned id: no state has observed inputs."""
    return Resolution(state_id=planned_id, root=root)


class ObservedInputs:
    """The observed inputs of all states; safe to use from any thread."""

    def __init__(self, store: StateStore, value_of: ValueOf) -> None:
        """``value_of`` returns what an input is now below a step's root (None: it has none)."""
        self._store = store
        self._value_of = value_of
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[ObservedInput, ...]] | None = None

    def resolve(self, planned_id: str, root: str | None) -> Resolution:
        """Return the id of the state that a step makes now of what its plan foresees and more."""
        inputs = self.of(planned_id)
        if not inputs:
            return as_planned(planned_id, root)
        root = None if root is None else os.path.realpath(root)
        state_id, instead_of = planned_id, None
        values: dict[tuple[str, str], str] = {}
        changed: tuple[ObservedInput, ...] = ()
        while inputs:
            now = {each.key: self._value_of(root, each) for each in inputs}
            differing = tuple(each for each in inputs if now[each.key] != each.value)
            if not differing:
                break
            values.update(now)
            state_id, changed, instead_of = _variant(state_id, now), differing, state_id
            inputs = self.of(state_id)
        return Resolution(
            state_id=state_id,
            root=root,
            inputs=inputs,
            values=values,
            changed=changed,
            instead_of=instead_of,
        )

    def stands(self, resolution: Resolution) -> bool:
        """Return whether a resolution is what ``resolve`` would return again.

        It may not be since the state was built, from other files by another job.
        """
        inputs = self.of(resolution.state_id)
        if inputs is resolution.inputs or not inputs:
            return True
        again = self.resolve(resolution.state_id, resolution.root)
        return again.state_id == resolution.state_id

    def unchanged(self, inputs: Sequence[ObservedInput], root: str) -> bool:
        """Return whether inputs of a step with this root are what they were."""
        return all(self._value_of(root, each) == each.value for each in inputs)

    def of(self, state_id: str) -> tuple[ObservedInput, ...]:
        """Return a state's observed inputs."""
        known = self._loaded
        if known is None:
            with self._lock:
                known = self._load()
        return known.get(state_id, ())

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
        known = self._load()
        if inputs:
            known[state_id] = tuple(inputs)
        else:
            known.pop(state_id, None)

    def _load(self) -> dict[str, tuple[ObservedInput, ...]]:
        """Return the inputs of all states, read at the first use.

        Those of states that are deleted stay until the next start: they are still true.
        """
        if self._loaded is None:
            # A state that was recovered without them is not used again.
            found = self._store.observed()
            self._loaded = {state_id: each or (UNSEEN,) for state_id, each in found.items()}
        return self._loaded


def _variant(state_id: str, now: Values) -> str:
    """Return the id of the state that other values of the same inputs lead to."""
    values = sorted([kind, path, value] for (kind, path), value in now.items())
    canonical = json.dumps({"observed": values, "planned": state_id}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
