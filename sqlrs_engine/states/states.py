"""States as files and rows together: published, looked up, swept after a crash.

The files are created first and the row last, so a row means a complete state. A ``boot_id`` in a
row means that its files may not have reached the disk; after a power loss such states are dropped.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlrs_engine.clock import Clock
from sqlrs_engine.errors import Conflict, EngineError, NotFound
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.store import StateStore
from sqlrs_engine.store.records import Json, MadeState, ObservedInput, State

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewState:
    """A state that is about to be published.

    ``recipe`` is what its step is made of, ``observed`` is what the step was seen to use besides.
    """

    state_id: str
    parent_state_id: str | None
    image_id: str
    prepare_kind: str
    prepare_args_normalized: str
    size_bytes: int
    recipe: Json | None = None
    observed: tuple[ObservedInput, ...] = ()


class States:
    """The cached states of one store; safe to use from any thread."""

    def __init__(
        self,
        store: StateStore,
        files: StateFiles,
        clock: Clock,
        *,
        boot_id_file: Path = BOOT_ID,
        keeps: Callable[[str], bool] = lambda state_id: False,
    ) -> None:
        """``keeps`` returns whether a state without a row must be kept nevertheless."""
        self._store = store
        self._files = files
        self._clock = clock
        self._keeps = keeps
        self._boot_id = boot_id_file.read_text().strip()
        self._syncing = threading.Lock()
        # Held while files and row may disagree, so that a sweep does not interfere.
        self._publishing = threading.Lock()

    def require(self, state_id: str) -> State:
        """Return the record of a state that can be cloned. Raises NotFound."""
        state = self._store.get(state_id)
        if state is None:
            raise NotFound.of("state", state_id)
        if not self.exists(state_id):
            raise NotFound("the state's files are missing or damaged: prepare it again", state_id)
        return state

    def exists(self, state_id: str) -> bool:
        """Return whether a state can be cloned."""
        state = self._store.get(state_id)
        return (
            state is not None
            and not self._doubtful(state)
            and self._files.is_whole(self._dir(state))
        )

    def proven(self, state_id: str) -> bool:
        """Return whether an instance of a state has started and let its user in."""
        state = self._store.get(state_id)
        return state is not None and state.proven

    def drop_unproven(self, state_id: str) -> None:
        """Remove a state whose instances are unusable, unless it is proven."""
        with self._publishing:
            state = self._store.get(state_id)
            if state is not None and not state.proven:
                _log.warning("state %s cannot be used: dropped", state_id)
                self._drop(state)

    def mark_damaged(self, state_id: str) -> None:
        """Record that a state is damaged: it does not exist until it is built again."""
        with self._publishing:
            _log.warning("state %s does not start any more: it is damaged", state_id)
            self._store.set_damaged(state_id)

    def publish(self, workspace: Path, new: NewState, passed: Sequence[NewState] = ()) -> State:
        """Make a workspace a state, which no other thread may be building; return its record.

        ``passed`` are its ancestors, from the first to the last, that were made on the way and get
        no files: they are recorded with it, unless they are known already. Raises Conflict when
        another engine has made the state, StorageFull.
        """
        # Parents are older than their children.
        ancestors = [MadeState(self._record(each), each.recipe, each.observed) for each in passed]
        state = self._record(new)
        target = self._dir(state)
        with self._publishing:
            if os.path.lexists(target):
                self._make_way(target)
            if not self._files.publish(workspace, target):
                raise Conflict(
                    "another engine has made this state in the meantime: prepare again",
                    state.state_id,
                )
            try:
                self._store.add(state, new.recipe, new.observed, ancestors)
            except BaseException:
                self._files.discard(target)
                raise
        return state

    def _record(self, new: NewState) -> State:
        return State(
            state_id=new.state_id,
            parent_state_id=new.parent_state_id,
            image_id=new.image_id,
            prepare_kind=new.prepare_kind,
            prepare_args_normalized=new.prepare_args_normalized,
            created_at=self._clock(),
            size_bytes=new.size_bytes,
            boot_id=self._boot_id,
            observed=bool(new.observed),
        )

    def publish_durably(self, workspace: Path, new: NewState) -> State:
        """Publish a state that cannot be built again, and wait until it has reached the disk."""
        state = self.publish(workspace, new)
        try:
            self.make_durable()
        except BaseException:
            with self._publishing:
                self._store.remove(state.state_id)
                self._files.discard(self._dir(state))
            raise
        return replace(state, boot_id=None)

    def make_durable(self) -> None:
        """Write the files of new states to the disk and record it; may take a while."""
        with self._syncing:
            # Listed before the sync: what comes after it is not covered.
            undurable = self._store.undurable()
            waiting = [state.state_id for state in undurable if not self._doubtful(state)]
            if waiting:
                self._files.sync()
                self._store.set_durable(waiting)

    def drop_doubtful(self) -> None:
        """Drop the files that a power loss may have damaged, before anything else.

        This includes the rest of those that were being dropped when an engine was killed.
        """
        for state_id in [state.state_id for state in reversed(self._store.undurable())]:
            with self._publishing:
                state = self._store.get(state_id)
                if state is not None and self._doubtful(state):
                    if os.path.lexists(self._dir(state)):
                        _log.warning("the files of state %s may be damaged: dropped", state_id)
                    self._drop(state)

    def sweep(self) -> None:
        """Make files and rows agree after a start; jobs may be building already."""
        self.drop_doubtful()
        for directory in self._files.state_dirs():
            with self._publishing:
                state = self._store.get(directory.name)
                if state is None:
                    self._remove_stray(directory)
                elif state.size_bytes == 0 and self._doubtful(state):
                    self._discard(directory)  # an engine was killed while it dropped them

    def _make_way(self, target: Path) -> None:
        """Remove whatever a crash or damage has left of a state."""
        try:
            self._files.discard(target)
        except Conflict as refusal:
            place = self._files.set_aside(target)
            _log.warning("%s: it is set aside, as %s", refusal, place)

    def _remove_stray(self, directory: Path) -> None:
        if not self._keeps(directory.name):
            _log.warning("removing the files of unknown state %s", directory.name)
            self._discard(directory)
            return
        try:
            place = self._files.set_aside(directory)
        except (EngineError, OSError):
            _log.exception("cannot set %s aside", directory)
        else:
            _log.warning("unknown state %s is kept, as it is, in %s", directory.name, place)

    def _doubtful(self, state: State) -> bool:
        """Return whether a state's files cannot be trusted, as after a power loss."""
        return state.boot_id not in (None, self._boot_id)

    def _drop(self, state: State) -> None:
        """Remove a state's files, and its row unless something needs it."""
        self._discard(self._dir(state))
        try:
            self._store.remove(state.state_id)
        except Conflict:
            if state.size_bytes:
                self._store.set_gone(state.state_id)  # its dependants need the row

    def _discard(self, directory: Path) -> None:
        try:
            self._files.discard(directory)
        except (EngineError, OSError):
            _log.exception("cannot remove %s", directory)

    def _dir(self, state: State) -> Path:
        return self._files.state_dir(state.image_id, state.state_id)
