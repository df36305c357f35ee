"""For any tree: the dry run says exactly what the real run does."""

import itertools
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine.deletion import Deletion, Node
from sqlrs_engine.store.records import Instance, State

NOW = "2026-01-01T00:00:00.000000Z"


@dataclass(frozen=True)
class Shape:
    """A tree: the parent of each state but the first, and the instances and leases."""

    parents: list[int]
    instances: list[tuple[int, int, bool]]  # state, connections, protected
    leased: frozenset[int]


@st.composite
def shapes(draw):
    size = draw(st.integers(1, 8))
    states = st.integers(0, size - 1)
    return Shape(
        parents=[draw(st.integers(0, child - 1)) for child in range(1, size)],
        instances=draw(
            st.lists(st.tuples(states, st.sampled_from([0, 0, 1]), st.booleans()), max_size=6)
        ),
        leased=frozenset(draw(st.lists(states, max_size=1))),
    )


class Model:
    """Store, instances, leases and files of a shape, all in memory."""

    def __init__(self, shape):
        # The model is each part of the instances that a deletion uses.
        self.usage = self.removal = self.services = self.locks = self
        self.shape = shape
        self.removed = []
        self.discarded = []
        self.state_rows = {
            str(number): State(
                state_id=str(number),
                parent_state_id=str(shape.parents[number - 1]) if number else None,
                image_id="image",
                prepare_kind="psql",
                prepare_args_normalized="",
                created_at=NOW,
            )
            for number in range(len(shape.parents) + 1)
        }
        self.instance_rows = {
            f"i{number}": Instance(
                instance_id=f"i{number}",
                image_id="image",
                state_id=str(state),
                created_at=NOW,
                port=number,
                password="",
                protected=protected,
            )
            for number, (state, _, protected) in enumerate(shape.instances)
        }
        self.deletion = Deletion(Store(self), self, self, self)

    def snapshot(self):
        return set(self.state_rows) | set(self.instance_rows)

    # instances
    def connections(self, instance_id):
        return self.shape.instances[int(instance_id[1:])][1]

    def hold_all(self, instance_ids):
        return nullcontext()

    def remove(self, instance_id):
        self.removed.append(instance_id)
        return self.instance_rows.pop(instance_id, None) is not None

    # leases
    def leased(self, state_id):
        return int(state_id) in self.shape.leased

    @contextmanager
    def retire(self, state_ids):
        yield not any(self.leased(state_id) for state_id in state_ids)

    # files
    def state_dir(self, image_id, state_id):
        return Path(state_id)

    def discard(self, path):
        assert str(path) not in self.state_rows, "files go after the row"
        self.discarded.append(str(path))


class Store:
    def __init__(self, model):
        self.states = States(model)
        self.instances = Instances(model)


class States:
    def __init__(self, model):
        self.model = model

    def get(self, state_id):
        return self.model.state_rows.get(state_id)

    def find(self, filter):
        rows = self.model.state_rows.values()
        return [row for row in rows if row.parent_state_id == filter.parent_state_id]

    def remove(self, state_id):
        users = (row.state_id for row in self.model.instance_rows.values())
        parents = (row.parent_state_id for row in self.model.state_rows.values())
        assert state_id not in itertools.chain(users, parents), "leaves go first"
        self.model.removed.append(state_id)
        return self.model.state_rows.pop(state_id, None) is not None


class Instances:
    def __init__(self, model):
        self.model = model

    def get(self, instance_id):
        return self.model.instance_rows.get(instance_id)

    def find(self, filter):
        rows = self.model.instance_rows.values()
        return [row for row in rows if row.state_id == filter.state_id]


def walk(node: Node):
    yield node
    for child in node.children:
        yield from walk(child)


@given(shapes(), st.booleans(), st.booleans(), st.data())
def test_a_dry_run_is_the_real_run(shape, recurse, force, data):
    model = Model(shape)
    state_id = data.draw(st.sampled_from(sorted(model.state_rows)))
    before = model.snapshot()

    planned = model.deletion.state(state_id, recurse=recurse, force=force, dry_run=True)
    assert model.snapshot() == before

    done = model.deletion.state(state_id, recurse=recurse, force=force, dry_run=False)
    assert planned.root == done.root
    if done.outcome == "blocked":
        assert planned.outcome == "blocked"
        assert model.snapshot() == before
    else:
        assert (planned.outcome, done.outcome) == ("would_delete", "deleted")
        assert before - model.snapshot() == {node.id for node in walk(done.root)}
        assert sorted(model.removed) == sorted(node.id for node in walk(done.root))


@given(shapes(), st.booleans(), st.booleans())
def test_the_rules_of_blocking(shape, recurse, force):
    model = Model(shape)
    root = model.deletion.state("0", recurse=recurse, force=force, dry_run=True).root
    for node in walk(root):
        if node.kind == "instance":
            row = model.instance_rows[node.id]
            expected = None
            if node.connections and not force:
                expected = "active_connections"
            elif row.protected and not force:
                expected = "protected"
            assert node.blocked == expected
        elif int(node.id) in shape.leased:
            assert node.blocked == "has_descendants"
        elif recurse:
            blocked = any(child.blocked for child in node.children)
            assert node.blocked == ("blocked_by_descendant" if blocked else None)
        else:
            assert node.children == ()
    if recurse:
        assert len(list(walk(root))) == len(model.snapshot())


@given(shapes(), st.booleans(), st.data())
def test_a_dry_run_of_an_instance_is_the_real_run(shape, force, data):
    model = Model(shape)
    if not model.instance_rows:
        return
    instance_id = data.draw(st.sampled_from(sorted(model.instance_rows)))
    before = model.snapshot()
    planned = model.deletion.instance(instance_id, force=force, dry_run=True)
    assert model.snapshot() == before
    done = model.deletion.instance(instance_id, force=force, dry_run=False)
    assert planned.root == done.root
    gone = set() if done.outcome == "blocked" else {instance_id}
    assert before - model.snapshot() == gone
