"""Cache decisions: hit or miss, and for a miss the cached part of the chain and the changed inputs.

The states of a chain are looked up from the last to the first: the first one found is the
*nearest*. For the next step, the state with the most similar recipe is found among the states made
of the same parent (of any image for the first step). For each later step, it is found among the
children of the one before. The inputs that differ in all of them have changed, and so have observed
inputs because of which a step does not lead to the state of its planned id.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from sqlrs_engine.states.observed_inputs import Resolution
from sqlrs_engine.store import StateStore
from sqlrs_engine.store.records import Json, Recipe

from .differences import Change, differences

# Of siblings, the latest used are looked at: enough to find what was prepared before.
_SIBLINGS = 200


class Step(Protocol):
    """A step of a plan."""

    @property
    def state_id(self) -> str:
        """The id of the state that the step makes."""

    @property
    def parent_state_id(self) -> str | None:
        """The state that the step changes, None for the base state."""

    @property
    def recipe(self) -> Json:
        """The inputs of the step, as JSON."""


class Plan(Protocol):
    """The plan of a prepare request."""

    @property
    def image_id(self) -> str:
        """The resolved image."""

    @property
    def signature(self) -> str:
        """A hash that identical jobs share."""

    @property
    def steps(self) -> Sequence[Step]:
        """The chain of steps."""

    @property
    def resolutions(self) -> Mapping[str, Resolution]:
        """How the ids of the states came about, by these ids."""


@dataclass(frozen=True, slots=True)
class _Match:
    recipe: Recipe
    changes: list[Change]


def explain(plan: Plan, states: StateStore, exists: Callable[[str], bool]) -> Json:
    """Return the decision about a plan as the API shows it.

    ``exists`` returns whether a state can be used: a row alone does not suffice.
    """
    ids = [step.state_id for step in plan.steps]
    if exists(ids[-1]):
        return _decision(plan, "hit", "exact_state_match", matched_state_id=ids[-1])
    # States before the last one that exists are not needed and may be gone.
    cached = next((count for count in range(len(ids), 0, -1) if exists(ids[count - 1])), 0)
    decision = _decision(plan, "miss", "no_matching_state")
    if cached:
        decision["nearest_state_id"] = ids[cached - 1]
    decision["missing_steps"] = len(ids) - cached
    decision["changes"] = _changes(plan, cached, states)
    return decision


def _decision(plan: Plan, decision: str, reason: str, **more: str) -> Json:
    return {
        "decision": decision,
        "reason_code": reason,
        "signature": plan.signature,
        "resolved_image_id": plan.image_id,
        **more,
    }


def _changes(plan: Plan, cached: int, states: StateStore) -> list[Json]:
    """Compare the missing steps, one after the other, with what was made in their place."""
    changes: list[Json] = []
    parent = plan.steps[cached].parent_state_id
    for number, step in enumerate(plan.steps[cached:], start=cached):
        resolution = plan.resolutions.get(step.state_id)
        if resolution is not None:
            names = _observed_names(resolution)
            changes += [{"kind": "observed", "name": name, "step": number} for name in names]
        match = _most_alike(step, plan.image_id, states.recipes(parent, _SIBLINGS))
        if match is None:
            break
        if match.recipe.image_id != plan.image_id and step.parent_state_id is None:
            changes.append({"kind": "image", "name": match.recipe.image_id, "step": 0})
        changes += [
            {"kind": change.kind, "name": change.name, "step": number} for change in match.changes
        ]
        parent = match.recipe.state_id
    return changes


def _observed_names(resolution: Resolution) -> Iterator[str]:
    """Yield the observed inputs that have changed since the step ran."""
    for each in resolution.changed:
        if each.kind == "unseen":
            yield "what could not be observed when the step ran"
        else:
            path = os.path.normpath(Path(resolution.root or "", each.path))
            yield path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _most_alike(step: Step, image_id: str, recipes: Sequence[Recipe]) -> _Match | None:
    """Return the recipe with the fewest differences; of several, the latest used."""
    best: _Match | None = None
    fewest = 0
    for recipe in recipes:
        changes = differences(step.recipe, recipe.step)
        count = len(changes) + (recipe.image_id != image_id)
        if (best is None or count < fewest) and _are_comparable(step.recipe, recipe.step):
            best, fewest = _Match(recipe, changes), count
    return best


def _are_comparable(now: Json, before: Json) -> bool:
    """Return whether two steps have enough in common for a useful comparison.

    This is the same content, the same kind of text, a file or changeset of the same name, or the
    same program.
    """
    if now.get("content") == before.get("content"):
        return True
    if now.get("source") != before.get("source"):
        return False
    if now.get("source") == "changeset":
        return now.get("summary") == before.get("summary")
    if now.get("source") == "program" and now["argv"][0] == before["argv"][0]:
        return True
    if now.get("source") not in ("file", "program"):
        return True
    return not _names(now).isdisjoint(_names(before))


def _names(recipe: Json) -> set[str]:
    return {PurePath(file["path"]).name for file in recipe.get("files", ())}
