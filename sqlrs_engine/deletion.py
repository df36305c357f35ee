"""Plans and executes deletions of instances and states.

The same planner serves dry runs and real ones. The codes of ``Node.blocked``:

* ``active_connections``: clients are connected to the instance (``force`` cuts them off)
* ``protected``: the instance is protected (``force`` deletes it anyway)
* ``has_descendants``: instances or states depend on the state and ``recurse`` is not set, or a
  job uses the state now; ``force`` does not help
* ``blocked_by_descendant``: an instance or state below is blocked

Nothing is deleted when anything is blocked. Leaves are deleted first, and the row of a state before
its files: the next start sweeps away the files that a crash leaves behind.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

from sqlrs_engine.errors import NotFound, Unavailable
from sqlrs_engine.instances import Instances
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import InstanceFilter, StateFilter, Store
from sqlrs_engine.store.records import Instance, State

__all__ = [
    "ACTIVE_CONNECTIONS",
    "ACTIVE_TASKS",
    "BLOCKED_BY_DESCENDANT",
    "HAS_DESCENDANTS",
    "PROTECTED",
    "DeleteResult",
    "Deletion",
    "Node",
]

ACTIVE_CONNECTIONS = "active_connections"
ACTIVE_TASKS = "active_tasks"
BLOCKED_BY_DESCENDANT = "blocked_by_descendant"
HAS_DESCENDANTS = "has_descendants"
PROTECTED = "protected"

_ATTEMPTS = 10

Kind = Literal["instance", "state", "job", "dump"]
Outcome = Literal["deleted", "would_delete", "blocked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of a deletion tree; its ``children`` are deleted before it.

    ``connections`` is set for instances; ``blocked`` is a code of this module or None.
    """

    kind: Kind
    id: str
    connections: int | None = None
    blocked: str | None = None
    runtime_id: str | None = None
    children: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """The result of a deletion, or of a dry run."""

    dry_run: bool
    outcome: Outcome
    root: Node

    @classmethod
    def of(cls, root: Node, *, dry_run: bool) -> "DeleteResult":
        """Return the result of a planned tree; anything blocked in it blocks its root."""
        if root.blocked is not None:
            return cls(dry_run=dry_run, outcome="blocked", root=root)
        return cls(dry_run=dry_run, outcome="would_delete" if dry_run else "deleted", root=root)


class Deletion:
    """Plans and executes deletions; safe to use from any thread."""

    def __init__(
        self, store: Store, instances: Instances, leases: Leases, files: StateFiles
    ) -> None:
        self._store = store
        self._usage = instances.usage
        self._removal = instances.removal
        self._locks = instances.services.locks
        self._leases = leases
        self._files = files

    def instance(
        self, instance_id: str, force: bool = False, dry_run: bool = False
    ) -> DeleteResult:
        """Delete an instance. Raises NotFound; names are not resolved."""
        with self._held([] if dry_run else [instance_id]):
            instance = self._store.instances.get(instance_id)
            if instance is None:
                raise NotFound.of("instance", instance_id)
            root = self._instance_node(instance, force)
            if not dry_run and root.blocked is None:
                self._removal.remove(instance_id)
        return DeleteResult.of(root, dry_run=dry_run)

    def state(
        self,
        state_id: str,
        recurse: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> DeleteResult:
        """Delete a state, with ``recurse`` including everything that depends on it.

        Raises NotFound, Unavailable when the tree kept changing.
        """
        if dry_run:
            root = self._plan(self._family(state_id, recurse), recurse, force)
            return DeleteResult.of(root, dry_run=True)
        for _ in range(_ATTEMPTS):
            expected = self._family(state_id, recurse)
            with self._claimed(expected, recurse) as claimed:
                # Read again: nothing can be added to a claimed tree.
                family = self._family(state_id, recurse)
                root = self._plan(family, recurse, force)
                if root.blocked is None and not (claimed and family.within(expected)):
                    continue
                if root.blocked is None:
                    self._remove(family)
                return DeleteResult.of(root, dry_run=False)
        raise Unavailable("the state is in constant use: try again in a moment", state_id)

    def _family(self, state_id: str, recurse: bool) -> "_Family":
        """Read a state and what depends on it: all generations, or the first only."""
        top = self._store.states.get(state_id)
        if top is None:
            raise NotFound.of("state", state_id)
        family = _Family([top], {}, {})
        for state in family.states:  # grows as it is walked
            parent = state.state_id
            family.instances[parent] = self._store.instances.find(InstanceFilter(state_id=parent))
            family.children[parent] = self._store.states.find(StateFilter(parent_state_id=parent))
            if recurse:
                family.states.extend(family.children[parent])
        return family

    def _plan(self, family: "_Family", recurse: bool, force: bool) -> Node:
        """Build the tree from its leaves; chains of states may be long, so no recursion."""
        nodes: dict[str, Node] = {}
        for state in reversed(family.states):
            state_id = state.state_id
            instances, states = family.instances[state_id], family.children[state_id]
            in_use = self._leases.leased(state_id)
            if not recurse:
                blocked = HAS_DESCENDANTS if instances or states or in_use else None
                return Node(kind="state", id=state_id, blocked=blocked)
            children = (
                *(self._instance_node(instance, force) for instance in instances),
                *(nodes.pop(child.state_id) for child in states),
            )
            nodes[state_id] = _state_node(state_id, children, in_use)
        return nodes[family.states[0].state_id]

    def _instance_node(self, instance: Instance, force: bool) -> Node:
        try:
            connections = self._usage.connections(instance.instance_id)
        except NotFound:
            connections = 0  # deleted since it was listed
        blocked = None
        if not force and connections:
            blocked = ACTIVE_CONNECTIONS
        elif not force and instance.protected:
            blocked = PROTECTED
        return Node(
            kind="instance",
            id=instance.instance_id,
            connections=connections,
            blocked=blocked,
            runtime_id=instance.runtime_id,
        )

    @contextmanager
    def _claimed(self, family: "_Family", recurse: bool) -> Iterator[bool]:
        """Keep a family from changing: leases first, then the locks of instances."""
        with (
            self._leases.retire(state.state_id for state in family.states) as claimed,
            self._held(family.instance_ids() if recurse else ()),
        ):
            yield claimed

    def _held(self, instance_ids: Iterable[str]) -> AbstractContextManager[None]:
        return self._locks.hold_all(instance_ids)

    def _remove(self, family: "_Family") -> None:
        for state in reversed(family.states):
            for instance in family.instances[state.state_id]:
                self._removal.remove(instance.instance_id)
            self._store.states.remove(state.state_id)
            self._files.discard(self._files.state_dir(state.image_id, state.state_id))


@dataclass(frozen=True, slots=True)
class _Family:
    """A state and its dependants: ``states`` lists parents before children.

    ``instances`` and ``children`` are by the id of the state they come from.
    """

    states: list[State]
    instances: dict[str, list[Instance]]
    children: dict[str, list[State]]

    def instance_ids(self) -> set[str]:
        return {each.instance_id for group in self.instances.values() for each in group}

    def within(self, other: "_Family") -> bool:
        """Return whether another family contains all of this one."""
        ours = {state.state_id for state in self.states}
        return (
            ours <= {state.state_id for state in other.states}
            and self.instance_ids() <= other.instance_ids()
        )


def _state_node(state_id: str, children: tuple[Node, ...], in_use: bool) -> Node:
    blocked = None
    if in_use:
        blocked = HAS_DESCENDANTS
    elif any(child.blocked is not None for child in children):
        blocked = BLOCKED_BY_DESCENDANT
    return Node(kind="state", id=state_id, blocked=blocked, children=children)
