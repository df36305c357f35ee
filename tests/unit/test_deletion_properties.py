"""For any tree: the dry run says exactly what the real run does."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.store_samples import instance, state

from sqlrs_engine.deletion import Deletion, Node
from sqlrs_engine.instances.keyed_locks import KeyedLocks
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import InstanceFilter, StateFilter
from sqlrs_engine.store.sqlite import SqliteStore

# Each example writes some twenty rows, to a disk that may be slow.
EXAMPLES = settings(max_examples=50, deadline=None)


@dataclass(frozen=True)
class Shape:
    """A tree: the parent of each state but the first, and the instances and leases."""

    parents: list[int]
    instances: list[tuple[int, int, bool]]  # state, connections, protected
    leased: frozenset[int]


@st.composite
def shapes(draw, least_instances=0):
    size = draw(st.integers(1, 8))
    states = st.integers(0, size - 1)
    return Shape(
        parents=[draw(st.integers(0, child - 1)) for child in range(1, size)],
        instances=draw(
            st.lists(
                st.tuples(states, st.sampled_from([0, 0, 1]), st.booleans()),
                min_size=least_instances,
                max_size=6,
            )
        ),
        leased=frozenset(draw(st.lists(states, max_size=1))),
    )


class World:
    """The rows of a shape in a real store; instances without servers, states without files."""

    def __init__(self, store, shape):
        self.store = store
        self.shape = shape
        self.discarded = []
        self.leases = Leases()
        self.usage = self.removal = self.services = self
        self.locks = KeyedLocks()
        self._clear()
        self.state_ids = [state(number).state_id for number in range(len(shape.parents) + 1)]
        for number, state_id in enumerate(self.state_ids):
            parent = self.state_ids[shape.parents[number - 1]] if number else None
            store.states.add(state(number, state_id=state_id, parent_state_id=parent))
        for number, (parent, _, protected) in enumerate(shape.instances):
            store.instances.add(
                instance(number, state_id=self.state_ids[parent], protected=protected)
            )
        leased = (self.state_ids[number] for number in shape.leased)
        self.lease = ExitStack()
        self.lease.enter_context(self.leases.lease(*leased))
        self.deletion = Deletion(store, self, self.leases, self)

    def _clear(self):
        for row in self.store.instances.find(InstanceFilter()):
            self.store.instances.remove(row.instance_id)
        # A parent has a lower number than its children, which go first.
        for state_id in sorted((row.state_id for row in self.states()), reverse=True):
            self.store.states.remove(state_id)

    def states(self):
        return self.store.states.find(StateFilter())

    def instances(self):
        return [row.instance_id for row in self.store.instances.find(InstanceFilter())]

    def snapshot(self):
        return {row.state_id for row in self.states()} | set(self.instances())

    # instances
    def connections(self, instance_id):
        return self.shape.instances[int(instance_id, 16)][1]

    def remove(self, instance_id):
        return self.store.instances.remove(instance_id)

    # files
    def state_dir(self, image_id, state_id):
        return Path(state_id)

    def discard(self, path):
        assert self.store.states.get(str(path)) is None, "files go after the row"
        self.discarded.append(str(path))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One store for all examples: to make one takes longer than to empty it."""
    store = SqliteStore(tmp_path_factory.mktemp("store") / "state.db")
    yield store
    store.close()


def walk(node: Node):
    yield node
    for child in node.children:
        yield from walk(child)


@given(shapes(), st.booleans(), st.booleans(), st.data())
@EXAMPLES
def test_a_dry_run_is_the_real_run(store, shape, recurse, force, data):
    world = World(store, shape)
    state_id = data.draw(st.sampled_from(world.state_ids))
    before = world.snapshot()

    planned = world.deletion.state(state_id, recurse=recurse, force=force, dry_run=True)
    assert world.snapshot() == before

    done = world.deletion.state(state_id, recurse=recurse, force=force, dry_run=False)
    assert planned.root == done.root
    if done.outcome == "blocked":
        assert planned.outcome == "blocked"
        assert world.snapshot() == before
    else:
        assert (planned.outcome, done.outcome) == ("would_delete", "deleted")
        assert before - world.snapshot() == {node.id for node in walk(done.root)}
        states = [node.id for node in walk(done.root) if node.kind == "state"]
        assert sorted(world.discarded) == sorted(states)


@given(shapes(), st.booleans(), st.booleans())
@EXAMPLES
def test_the_rules_of_blocking(store, shape, recurse, force):
    world = World(store, shape)
    root = world.deletion.state(world.state_ids[0], recurse=recurse, force=force, dry_run=True).root
    for node in walk(root):
        if node.kind == "instance":
            row = store.instances.get(node.id)
            expected = None
            if node.connections and not force:
                expected = "active_connections"
            elif row.protected and not force:
                expected = "protected"
            assert node.blocked == expected
        elif int(node.id, 16) in shape.leased:
            assert node.blocked == "has_descendants"
        elif recurse:
            blocked = any(child.blocked for child in node.children)
            assert node.blocked == ("blocked_by_descendant" if blocked else None)
        else:
            assert node.children == ()
    if recurse:
        assert len(list(walk(root))) == len(world.snapshot())


@given(shapes(least_instances=1), st.booleans(), st.data())
@EXAMPLES
def test_a_dry_run_of_an_instance_is_the_real_run(store, shape, force, data):
    world = World(store, shape)
    instance_id = data.draw(st.sampled_from(world.instances()))
    before = world.snapshot()
    planned = world.deletion.instance(instance_id, force=force, dry_run=True)
    assert world.snapshot() == before
    done = world.deletion.instance(instance_id, force=force, dry_run=False)
    assert planned.root == done.root
    gone = set() if done.outcome == "blocked" else {instance_id}
    assert before - world.snapshot() == gone
