"""States as files and rows together, whatever comes between the two."""

from dataclasses import replace

import pytest
from support import store_samples as samples
from support.prepare_fakes import FakeFiles, Gate, in_thread

from sqlrs_engine.clock import utc_now
from sqlrs_engine.errors import Conflict, StorageFull
from sqlrs_engine.states.states import NewState, States
from sqlrs_engine.store.sqlite import SqliteStore


class Store:
    """A store of states across boots of the machine."""

    def __init__(self, root):
        self.root = root
        self.files = FakeFiles(root / "store")
        self.store = SqliteStore(root / "state.db")
        self.precious = set()
        self.boot("one")

    def boot(self, name):
        (self.root / "boot_id").write_text(f"{name}\n")
        self.states = States(
            self.store.states,
            self.files,
            utc_now,
            boot_id_file=self.root / "boot_id",
            keeps=lambda state_id: state_id in self.precious,
        )

    def publish(self, number=1, text="x", **fields):
        workspace = self.files.new_workspace()
        (workspace / "content").write_text(text)
        row = samples.state(number, **fields)
        new = NewState(
            state_id=row.state_id,
            parent_state_id=row.parent_state_id,
            image_id=row.image_id,
            prepare_kind=row.prepare_kind,
            prepare_args_normalized=row.prepare_args_normalized,
            size_bytes=self.files.usage(workspace),
        )
        return self.states.publish(workspace, new)

    def dir(self, number=1):
        state = samples.state(number)
        return self.files.state_dir(state.image_id, state.state_id)

    def exists(self, number=1):
        return self.states.exists(samples.state(number).state_id)

    def row(self, number=1):
        return self.store.states.get(samples.state(number).state_id)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    yield store
    store.store.close()


def test_a_published_state_has_files_and_a_row(store):
    assert not store.exists()
    state = store.publish(text="12345")
    assert store.exists()
    assert (store.dir() / "content").read_text() == "12345"
    assert (state.size_bytes, state.boot_id) == (5, "one")
    assert store.row() == state
    assert store.files.workspaces() == []


def test_a_row_without_files_is_no_state(store):
    store.publish()
    store.files.discard(store.dir())
    assert not store.exists()
    store.publish(text="again")
    assert store.exists()


def test_files_without_a_row_are_replaced(store):
    """A crash came between the two."""
    store.dir().mkdir(parents=True)
    (store.dir() / "content").write_text("of the crash")
    assert not store.exists()
    store.publish(text="new")
    assert (store.dir() / "content").read_text() == "new"


def test_files_without_a_row_are_swept(store):
    store.publish()
    store.dir(2).mkdir(parents=True)
    store.states.sweep()
    assert store.exists()
    assert not store.dir(2).exists()


def test_a_row_that_cannot_be_stored_leaves_no_files(store, monkeypatch):
    def full(*args):
        raise StorageFull("the disk is full")

    monkeypatch.setattr(store.store.states, "add", full)
    with pytest.raises(StorageFull):
        store.publish()
    assert not store.dir().exists()


def test_a_state_being_published_is_not_swept(store, monkeypatch):
    """Jobs run from the first moment, so a sweep may come between the files and the row."""
    gate, add = Gate(), store.store.states.add

    def slowly(*args):
        gate()
        add(*args)

    monkeypatch.setattr(store.store.states, "add", slowly)
    with in_thread(store.publish):
        assert gate.reached.wait(20)
        assert store.dir().exists()
        with in_thread(store.states.sweep):
            gate.open.set()
    assert store.exists()


def test_a_state_becomes_durable(store):
    store.publish()
    store.states.make_durable()
    assert store.files.synced == 1
    assert store.row().boot_id is None
    store.states.make_durable()
    assert store.files.synced == 1


def test_a_failed_sync_makes_nothing_durable(store):
    store.publish()
    store.files.fail["sync"] = OSError("bad disk")
    with pytest.raises(OSError, match="bad disk"):
        store.states.make_durable()
    assert store.row().boot_id == "one"


def test_within_a_boot_states_are_trusted(store):
    store.publish()
    store.boot("one")
    assert store.exists()
    store.states.sweep()
    assert store.exists()


def test_after_a_power_loss_only_durable_states_are_trusted(store):
    store.publish(1)
    store.states.make_durable()
    store.publish(2, parent_state_id=samples.state(1).state_id)
    store.publish(3, parent_state_id=samples.state(2).state_id)
    store.boot("two")
    # A job may look before the sweep has come by.
    assert [store.exists(n) for n in (1, 2, 3)] == [True, False, False]
    store.states.sweep()
    assert [store.exists(n) for n in (1, 2, 3)] == [True, False, False]
    assert [bool(store.row(n)) for n in (1, 2, 3)] == [True, False, False]
    assert not store.dir(3).exists()


def test_a_dropped_state_that_an_instance_needs_keeps_its_row(store):
    state = store.publish()
    store.store.instances.add(samples.instance(state_id=state.state_id))
    store.boot("two")
    store.states.sweep()
    assert store.row() is not None
    assert not store.exists()
    # Built anew it is trusted again, and the next sweep lets it be.
    store.publish(text="anew")
    assert store.exists()
    store.states.sweep()
    assert store.exists()
    assert (store.dir() / "content").read_text() == "anew"


def middle(store):
    """Publish a durable state with a child; return its id."""
    state_id = store.publish(1, text="first").state_id
    store.publish(2, parent_state_id=state_id)
    store.states.make_durable()
    return state_id


@pytest.mark.parametrize("killed", ["before its files went", "after"])
def test_a_state_dropped_for_room_is_absent_until_it_is_built_anew(store, killed):
    store.store.states.set_gone(middle(store))
    if killed == "after":
        store.files.discard(store.dir(1))
    store.states.make_durable()
    assert not store.exists(1)

    store.boot("two")
    store.states.sweep()
    assert [store.exists(n) for n in (1, 2)] == [False, True]
    assert (store.row(1).size_bytes, store.dir(1).exists()) == (0, False)

    store.publish(1, text="first")
    store.states.make_durable()
    store.states.sweep()
    assert store.exists(1)
    assert (store.row(1).size_bytes, store.row(1).boot_id) == (5, None)


def test_a_state_dropped_for_room_goes_with_the_last_that_needs_its_row(store):
    store.store.states.set_gone(middle(store))
    store.store.states.remove(samples.state(2).state_id)
    store.states.sweep()
    assert store.row(1) is None


def test_a_damaged_state_stays_so_until_it_is_built_anew(store):
    state_id = store.publish().state_id
    store.states.mark_damaged(state_id)
    store.states.make_durable()
    assert not store.exists()
    store.publish(text="anew")
    assert store.exists()


def test_a_state_built_anew_before_the_sweep_is_kept(store):
    store.publish(text="old")
    store.boot("two")
    store.publish(text="new")
    assert store.exists()
    store.states.sweep()
    assert (store.dir() / "content").read_text() == "new"


def test_unknown_files_that_may_be_precious_are_set_aside(store):
    for number in (1, 2):
        store.dir(number).mkdir(parents=True)
    store.precious.add(store.dir(1).name)
    store.states.sweep()
    assert not store.dir(1).exists()
    assert store.files.aside == [store.dir(1)]


def test_files_that_cannot_be_set_aside_do_not_stop_a_sweep(store, caplog):
    for number in (1, 2):
        store.dir(number).mkdir(parents=True)
    store.precious.add(store.dir(1).name)
    store.files.fail["set_aside"] = OSError("busy")
    store.states.sweep()
    assert store.dir(1).exists()
    assert not store.dir(2).exists()
    assert "cannot set" in caplog.text


def test_files_that_cannot_be_removed_do_not_stop_a_sweep(store, caplog):
    store.dir(1).mkdir(parents=True)
    store.files.fail["discard"] = OSError("busy")
    store.states.sweep()
    assert "cannot remove" in caplog.text
    assert store.dir(1).exists()


def test_the_rest_of_the_record_is_kept(store):
    state = store.publish(prepare_args_normalized="-c x")
    expected = replace(samples.state(), prepare_args_normalized="-c x")
    for name in ("state_id", "image_id", "prepare_kind", "prepare_args_normalized"):
        assert getattr(state, name) == getattr(expected, name)
    assert state.created_at


def test_what_another_engine_has_published_is_not_deleted(store, monkeypatch):
    monkeypatch.setattr(store.files, "publish", lambda *_: False)
    with pytest.raises(Conflict):
        store.publish()
    assert store.row() is None
