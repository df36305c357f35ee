"""Turns what was seen of a step into the inputs of its state that the plan did not foresee."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from sqlrs_engine.states.observed_inputs import UNSEEN, Values
from sqlrs_engine.store.records import ObservedInput

from .values import InputValues, entries_value, link
from .watch import Sight, Watch

MOST_INPUTS = 5000
_SHOWN = 5
_AGAIN = "the next prepare runs the step again"

Key = tuple[Literal["file", "directory", "link"], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What is known of a step before it runs.

    ``root`` is the directory that paths are relative to, without symbolic links. ``is_planned`` is
    whether a file's content is in the planned id, or the names of a directory are. ``values`` are
    those of the observed inputs that count in the id by now. ``writes`` is whether the step is
    known to write a file itself, ``overlooked`` why it may have read more than these files.
    """

    root: str
    is_planned: Callable[[str], bool]
    values: Values
    writes: Callable[[str], bool]
    overlooked: Callable[[Collection[str]], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The inputs that a state depends on besides its id, and what to tell users of them.

    ``used`` are the kinds and paths of these and of those that count in the id.
    """

    inputs: tuple[ObservedInput, ...] = ()
    used: frozenset[Key] = frozenset()
    notes: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether everything was seen."""
        return UNSEEN not in self.inputs

    def along_with(self, earlier: Sequence[ObservedInput]) -> "Findings":
        """Return the findings with inputs of an earlier run, whether or not they were seen again.

        What was made from that run's state depends on them.
        """
        keys = {each.key for each in self.inputs}
        others = tuple(each for each in earlier if each.key not in keys)
        return replace(self, inputs=(*self.inputs, *others)) if others else self

    @classmethod
    def nothing_seen(cls, reason: str) -> "Findings":
        """Return the findings about a step that had to be observed and could not be."""
        return cls(inputs=(UNSEEN,), notes=(f"not what it read ({reason}): {_AGAIN}",))


def find(watch: Watch, expected: Expectation, values: InputValues) -> Findings:
    """Return what a watch has seen of a step that has ended.

    An input that changed since the step began has no value that would match again. It may well be
    the step itself that changes it; so the next run starts from what it has made, and is the last
    one if it makes the same.
    """
    found = dict(_found(watch.end(), expected, values))
    sight = watch.end()  # files may have changed while they were read just now
    rewritten = {os.path.relpath(path, expected.root) for path in sight.rewritten}
    inputs: list[ObservedInput] = []
    for (kind, path), now in found.items():
        counted = expected.values.get((kind, path))
        if now != counted:
            lasting = counted is None and not (kind == "file" and path in rewritten)
            inputs.append(ObservedInput(kind, path, now if lasting else None))
    notes = _notes(inputs)
    if len(inputs) > MOST_INPUTS:
        inputs = [UNSEEN]
        notes = [f"it read more than {MOST_INPUTS} files that its plan does not name: {_AGAIN}"]
    elif doubt := sight.blind or expected.overlooked(_files(found, expected.root)):
        inputs.append(UNSEEN)
        notes.append(f"not all that it read was seen ({doubt}): {_AGAIN}")
    return Findings(inputs=tuple(inputs), used=frozenset(found), notes=tuple(notes))


def _found(sight: Sight, expected: Expectation, values: InputValues) -> Iterator[tuple[Key, str]]:
    """Yield the inputs that were not planned, and what they are now; of directories, were."""
    root = expected.root
    paths: list[str] = []
    for path in sorted(sight.read):
        own = path in sight.rewritten and expected.writes(path)
        if not own and not expected.is_planned(path):
            paths.append(path)
            yield ("file", os.path.relpath(path, root)), values.file(path)
    for path, entries in sorted(sight.listed.items()):
        if not expected.is_planned(path):
            paths.append(path)
            yield ("directory", os.path.relpath(path, root)), entries_value(entries)
    reached = _with_parents(paths)
    for path, target in sorted(sight.links.items()):
        if target in reached:
            yield ("link", os.path.relpath(path, root)), link(root, path)


def _with_parents(paths: Sequence[str]) -> Collection[str]:
    """Return paths with all directories above them."""
    reached: set[str] = set()
    for path in paths:
        while path not in reached:
            reached.add(path)
            path = path.rpartition("/")[0]
    return reached


def _files(found: Collection[Key], root: str) -> Collection[str]:
    return {os.path.normpath(Path(root, path)) for kind, path in found if kind == "file"}


def _notes(inputs: Sequence[ObservedInput]) -> list[str]:
    lasting = [each.path for each in inputs if each.value is not None]
    changed = [each.path for each in inputs if each.value is None]
    notes = []
    if lasting:
        notes.append(
            f"it read what its plan does not name, which counts from now on: {_list(lasting)}"
        )
    if changed:
        notes.append(f"it read what changed while it ran: {_list(changed)}: {_AGAIN}")
    return notes


def _list(paths: Sequence[str]) -> str:
    more = [f"{len(paths) - _SHOWN} more"] if len(paths) > _SHOWN else []
    return ", ".join([*paths[:_SHOWN], *more])
