"""Adds the rows that the database has lost, from labels.

A new, an older or a foreign database lacks containers that are in use, with clients connected.
These are never deleted: those with a label get their row back, and the others are *set aside*,
where a restored database finds them again.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlrs_engine.clock import Clock, Timestamp
from sqlrs_engine.errors import EngineError
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.store import InstanceFilter, Labelled, NameFilter, StateFilter, Store
from sqlrs_engine.store.records import Instance, Name, State

from .labels import Labels

UNKNOWN_KIND = "unknown"
"""The ``prepare_kind`` of a state of which only an instance is left."""

_log = logging.getLogger(__name__)


class Salvage:
    """Makes the rows and the labels of a store agree at the start of an engine."""

    def __init__(
        self,
        store: Store,
        labels: Labels,
        files: StateFiles,
        deadline: Callable[[Instance], Timestamp | None],
        clock: Clock,
    ) -> None:
        """``deadline`` returns when an instance expires, None for never."""
        self._store = store
        self._labels = labels
        self._files = files
        self._deadline = deadline
        self._clock = clock
        self._states = {row.state_id for row in store.states.find(StateFilter())}
        # Where labels were always written, a container without one was never finished. In a
        # store older than labels the database decides, unless it is empty.
        self._trusted = labels.complete or bool(self._states) or not any(self._containers())

    def restore(self) -> None:
        """Add the rows that the database has lost; log those that cannot be added."""
        self._take_back_known()
        instances = {row.instance_id for row in self._store.instances.find(InstanceFilter())}
        names = {row.name for row in self._store.names.find(NameFilter())}
        lost_states = self._labels.keys(State) - self._states
        lost_instances = self._labels.keys(Instance) - instances
        if lost_instances:
            self._drop_rows_without_files(instances)
        states = [key for key in lost_states if self._attempt(self._restore_state, key)]
        found = {key for key in lost_instances if self._attempt(self._restore_instance, key)}
        self._restore_names(found, names)
        if states or found:
            _log.warning(
                "the database lacked %d states and %d instances: they were recovered "
                "from their labels",
                len(states),
                len(found),
            )

    def keeps(self, kind: type[Labelled], key: str) -> bool:
        """Return whether a container without a row must be kept."""
        return not self._trusted or self._labels.has(kind, key)

    def settle(self) -> None:
        """Make the labels agree with the rows, after unfinished containers were removed."""
        store = self._store
        # Labels first: a row precedes its label, so a row added in the meantime does no harm.
        labels = {kind: self._labels.keys(kind) for kind in (State, Instance, Name)}
        states = {row.state_id: row for row in store.states.find(StateFilter())}
        instances = {row.instance_id: row for row in store.instances.find(InstanceFilter())}
        names = {row.name: row for row in store.names.find(NameFilter())}
        unknown = {path.name for path in self._containers()} - states.keys() - instances.keys()
        aside = {path.name for path in self._files.set_aside_dirs()}
        rows: dict[type[Labelled], Mapping[str, Labelled]]
        rows = {State: states, Instance: instances, Name: names}
        written = True
        for kind, known in rows.items():
            for key in known.keys() - labels[kind]:
                self._labels.stored(known[key])
                written = written and self._labels.has(kind, key)
            for key in labels[kind] - known.keys() - unknown - aside:
                self._labels.removed(kind, key)
        if written and (self._trusted or not unknown):
            self._labels.set_complete(True)

    def _containers(self) -> Iterator[Path]:
        yield from self._files.instance_dirs()
        yield from self._files.state_dirs()

    def _take_back_known(self) -> None:
        """Move containers back that were set aside and have a row again."""
        for container in list(self._files.set_aside_dirs()):
            key = container.name
            if key in self._states or self._store.instances.get(key) is not None:
                self._attempt(lambda container: self._files.take_back(container), container)

    def _drop_rows_without_files(self, instance_ids: Iterable[str]) -> None:
        """Remove rows of instances without files: recovered instances may have their ports."""
        for instance_id in instance_ids:
            if not os.path.lexists(self._files.instance_dir(instance_id)):
                self._store.instances.remove(instance_id)

    def _restore_state(self, state_id: str) -> bool:
        label = self._labels.read(State, state_id)
        return (
            label is not None
            and self._is_here(self._files.state_dir(label.image_id, state_id))
            and self._add_state(state_id)
        )

    def _add_state(self, state_id: str) -> bool:
        """Add the rows of a state's ancestors and its own; return whether it has a row now.

        Ancestors whose files were dropped long ago have no label.
        """
        lineage: dict[str, State] = {}
        wanted: str | None = state_id
        while wanted is not None and wanted not in self._states and wanted not in lineage:
            label = self._labels.read(State, wanted)
            if label is None:
                break
            lineage[wanted] = label
            wanted = label.parent_state_id
        for label in reversed(lineage.values()):
            parent = label.parent_state_id
            known = parent if parent in self._states else None
            # A lost parent may have had observed inputs: then this state may be out of date, and it
            # counts as one whose inputs are lost, which is not used again.
            doubtful = parent is not None and known is None
            self._store.states.add(
                replace(label, parent_state_id=known, observed=label.observed or doubtful)
            )
            self._states.add(label.state_id)
        return state_id in self._states

    def _restore_instance(self, instance_id: str) -> bool:
        label = self._labels.read(Instance, instance_id)
        if label is None or not self._is_here(self._files.instance_dir(instance_id)):
            return False
        if not self._add_state(label.state_id):
            self._store.states.add(_state_without_files(label, self._clock()))
            self._states.add(label.state_id)
        name = next((name.name for name in self._names() if name.instance_id == instance_id), None)
        # Its time to live starts again: its last use is not known.
        instance = replace(label, name=name, activity_at=self._clock())
        self._store.instances.add(replace(instance, expires_at=self._deadline(instance)))
        return True

    def _restore_names(self, instances: Collection[str], known: Collection[str]) -> None:
        for name in self._names():
            if name.name not in known or name.instance_id in instances:
                self._attempt(self._store.names.put, name)

    def _names(self) -> Iterator[Name]:
        labels = (self._labels.read(Name, key) for key in sorted(self._labels.keys(Name)))
        return (label for label in labels if label is not None)

    def _is_here(self, container: Path) -> bool:
        return container.is_dir() or self._files.take_back(container)

    def _attempt(self, restore: Callable[[Any], bool], what: Any) -> bool:
        """Restore one item; log a failure, so that the others are restored."""
        try:
            return restore(what)
        except (EngineError, OSError):
            _log.exception("cannot recover %s", what)
            return False


def _state_without_files(instance: Instance, now: Timestamp) -> State:
    """Return the row of a state of which only an instance is left."""
    return State(
        state_id=instance.state_id,
        parent_state_id=None,
        image_id=instance.image_id,
        prepare_kind=UNKNOWN_KIND,
        prepare_args_normalized="",
        created_at=now,
    )
