"""What the database lost is taken up again; no PostgreSQL runs."""

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.store_samples import at, instance, name, state

from sqlrs_engine.errors import StoreDamaged
from sqlrs_engine.salvage import Labels, Salvage, labels
from sqlrs_engine.salvage.database import open_whole
from sqlrs_engine.salvage.salvage import UNKNOWN_KIND
from sqlrs_engine.statefs import StateFs
from sqlrs_engine.statefs.copying import CopyBackend
from sqlrs_engine.store import InstanceFilter, StateFilter
from sqlrs_engine.store.records import Instance, MadeState, Name, ObservedInput, State
from sqlrs_engine.store.sqlite import SqliteStore

NOW = at(1000)


class Life:
    """One life of an engine over a store."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "state.db"
        self.labels = Labels(root)
        self.files = StateFs(root, CopyBackend(), owner=None)
        self.store = open_whole(
            self.path,
            lambda path: SqliteStore(path, clock=lambda: NOW, watcher=self.labels),
            replaceable=self.labels.complete,
        )
        self.salvage = Salvage(
            self.store, self.labels, self.files, lambda row: None, clock=lambda: NOW
        )
        self.salvage.restore()

    def container(self, place: Path) -> Path:
        workspace = self.files.new_workspace()
        (workspace / "data").mkdir()
        assert self.files.publish(workspace, place)
        return place

    def add_state(self, number: int = 1, **fields) -> State:
        row = state(number, **fields)
        self.container(self.files.state_dir(row.image_id, row.state_id))
        self.store.states.add(row)
        return row

    def add_instance(self, number: int = 1, **fields) -> Instance:
        row = instance(number, **fields)
        self.container(self.files.instance_dir(row.instance_id))
        self.store.instances.add(row)
        return row

    def ids(self) -> set[str]:
        states = self.store.states.find(StateFilter())
        instances = self.store.instances.find(InstanceFilter())
        return {*(row.state_id for row in states), *(row.instance_id for row in instances)}

    def end(self) -> None:
        self.salvage.settle()
        self.files.wait_idle()
        self.store.close()

    def lose_database(self) -> None:
        self.end()
        for path in self.root.glob("state.db*"):
            path.unlink()


@pytest.fixture
def lives(tmp_path: Path) -> Iterator["Lives"]:
    lives = Lives(tmp_path)
    yield lives
    lives.current.store.close()


class Lives:
    """The lives of one store, one after the other."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.current = Life(root)

    def next(self) -> Life:
        self.current.store.close()
        self.current = Life(self.root)
        return self.current


def lost(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6000])


def overwritten(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def made_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def left_hanging(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize(
    "damage", [lost, emptied, cut, overwritten, made_a_directory, left_hanging]
)
def test_rows_are_made_of_labels(lives: Lives, damage) -> None:
    life = lives.current
    life.add_state(1)
    second = life.add_state(2, parent_state_id=f"{1:064x}", size_bytes=77)
    first = life.add_instance(1, ttl=60.0, protected=True)
    other = life.add_instance(2, state_id=second.state_id)
    life.store.names.put(name("demo"))
    life.end()
    damage(life.path)

    life = lives.next()
    assert life.store.states.get(second.state_id) == replace(second, refcount=1)
    again = life.store.instances.get(first.instance_id)
    assert again == replace(first, activity_at=NOW, name="demo", status="active")
    assert life.store.instances.get(other.instance_id).dsn == other.dsn


def test_an_older_database_is_completed(lives: Lives) -> None:
    life = lives.current
    life.add_state()
    gone = life.add_instance(1)
    life.end()
    backup = life.path.read_bytes()
    life = lives.next()
    life.store.instances.remove(gone.instance_id)
    life.files.discard(life.files.instance_dir(gone.instance_id))
    # It has the port of the one that the older database knows.
    newer = life.add_instance(2, port=gone.port)
    life.end()
    life.path.write_bytes(backup)

    life = lives.next()
    assert [row.instance_id for row in life.store.instances.find(InstanceFilter())] == [
        newer.instance_id
    ]


def test_a_lost_write_ahead_log_costs_nothing(lives: Lives) -> None:
    life = lives.current
    life.end()
    life = lives.next()
    before = life.path.read_bytes()
    life.add_state()
    made = life.add_instance()
    assert life.path.read_bytes() == before, "all is in the log"
    life.store.close()
    life.path.write_bytes(before)
    for path in life.root.glob("state.db-*"):
        path.unlink()

    assert lives.next().store.instances.get(made.instance_id).dsn == made.dsn


def test_a_stranded_write_ahead_log_is_kept(lives: Lives) -> None:
    life = lives.current
    life.end()
    life.path.unlink()
    life.path.with_name("state.db-wal").write_bytes(b"precious")
    life = lives.next()
    [kept] = life.root.glob("state.db.damaged-*-wal")
    assert kept.read_bytes() == b"precious"


def test_the_damaged_database_is_kept(lives: Lives) -> None:
    lives.current.end()
    lives.current.path.write_bytes(b"garbage" * 1000)
    life = lives.next()
    [kept] = life.root.glob("state.db.damaged-*")
    assert kept.read_bytes() == b"garbage" * 1000


def test_a_damaged_database_without_labels_is_refused_untouched(lives: Lives) -> None:
    lives.current.end()
    shutil.rmtree(lives.root / "labels")
    lives.current.path.write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreDamaged, match="backup"):
        lives.next()
    assert lives.current.path.read_bytes() == b"garbage" * 1000


def test_deleted_objects_stay_deleted(lives: Lives) -> None:
    life = lives.current
    kept, deleted = life.add_state(1), life.add_state(2)
    life.add_instance(1)
    life.store.instances.remove(instance(1).instance_id)
    life.store.states.remove(deleted.state_id)
    life.lose_database()
    assert lives.next().ids() == {kept.state_id}


def test_unfinished_objects_are_not_kept(lives: Lives) -> None:
    life = lives.current
    life.end()
    life = lives.next()
    half_made = life.container(life.files.instance_dir(instance(9).instance_id))
    life.lose_database()
    life = lives.next()
    assert not life.salvage.keeps(Instance, half_made.name)
    assert life.ids() == set()


def test_without_its_state_an_instance_is_still_there(lives: Lives) -> None:
    life = lives.current
    made = life.add_state()
    life.add_instance()
    life.lose_database()
    (lives.root / "labels" / "states" / f"{made.state_id}.json").unlink()
    life = lives.next()
    assert life.store.instances.get(instance().instance_id).dsn == instance().dsn
    assert life.store.states.get(made.state_id).prepare_kind == UNKNOWN_KIND


def test_a_parent_of_which_only_the_row_was_left_comes_back(lives: Lives) -> None:
    life = lives.current
    parent = life.add_state(1)
    child = life.add_state(2, parent_state_id=parent.state_id)
    life.files.discard(life.files.state_dir(parent.image_id, parent.state_id))
    life.lose_database()
    life = lives.next()
    assert life.store.states.get(child.state_id).parent_state_id == parent.state_id


def test_a_state_with_observed_inputs_comes_back_as_one_whose_inputs_are_lost(lives: Lives) -> None:
    life = lives.current
    made = life.add_state(1, observed=True)
    assert life.store.states.get(made.state_id).observed
    life.lose_database()
    life = lives.next()
    assert life.store.states.observed() == {made.state_id: ()}


def test_so_does_one_whose_inputs_were_observed_when_it_was_passed_again(lives: Lives) -> None:
    life = lives.current
    parent = life.add_state(1)
    child = life.add_state(2, parent_state_id=parent.state_id)
    observed = (ObservedInput("file", "a.sql", "digest"),)
    life.store.states.add(child, passed=[MadeState(replace(parent, observed=True), None, observed)])
    life.lose_database()
    life = lives.next()
    assert life.store.states.observed() == {parent.state_id: ()}


def test_so_does_a_state_whose_parent_is_lost(lives: Lives) -> None:
    life = lives.current
    parent = life.add_state(1)
    child = life.add_state(2, parent_state_id=parent.state_id)
    life.files.discard(life.files.state_dir(parent.image_id, parent.state_id))
    life.lose_database()
    (lives.root / "labels" / "states" / f"{parent.state_id}.json").unlink()
    life = lives.next()
    assert life.store.states.get(child.state_id).parent_state_id is None
    assert life.store.states.observed() == {child.state_id: ()}


def test_a_state_dropped_for_room_comes_back_without_a_size(lives: Lives) -> None:
    life = lives.current
    parent = life.add_state(1, size_bytes=100)
    child = life.add_state(2, parent_state_id=parent.state_id, size_bytes=100)
    life.store.states.set_gone(parent.state_id)
    life.files.discard(life.files.state_dir(parent.image_id, parent.state_id))
    gone = life.store.states.get(parent.state_id)
    life.lose_database()
    life = lives.next()
    assert life.store.states.get(parent.state_id) == gone
    assert life.store.states.get(child.state_id).size_bytes == 100
    # Its label is that of its new files once it is built anew.
    life.store.states.add(replace(gone, size_bytes=70, boot_id="boot-9"))
    label = life.labels.read(State, parent.state_id)
    assert (label.size_bytes, label.boot_id) == (70, "boot-9")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"instance_id": 7}', b"\xff\xfe"])
def test_an_unreadable_label_keeps_its_container(lives: Lives, content: bytes) -> None:
    life = lives.current
    life.add_state()
    made = life.add_instance()
    life.lose_database()
    (lives.root / "labels" / "instances" / f"{made.instance_id}.json").write_bytes(content)
    life = lives.next()
    assert life.store.instances.get(made.instance_id) is None
    assert life.salvage.keeps(Instance, made.instance_id)


def test_a_label_under_another_name_is_not_believed(lives: Lives) -> None:
    life = lives.current
    life.add_state()
    made = life.add_instance()
    labels = lives.root / "labels" / "instances"
    shutil.copy(labels / f"{made.instance_id}.json", labels / f"{instance(2).instance_id}.json")
    assert life.labels.read(Instance, instance(2).instance_id) is None


def test_a_row_that_cannot_be_restored_does_not_stop_the_others(lives: Lives, caplog) -> None:
    life = lives.current
    life.add_state()
    first = life.add_instance(1)
    second = life.add_instance(2)
    life.lose_database()
    life.labels.stored(replace(second, port=first.port))  # both say they have the same port
    life = lives.next()
    [row] = life.store.instances.find(InstanceFilter())
    refused = ({first.instance_id, second.instance_id} - {row.instance_id}).pop()
    assert refused in caplog.text
    assert life.salvage.keeps(Instance, refused)


def test_a_container_set_aside_comes_back_with_its_row(lives: Lives) -> None:
    life = lives.current
    made = life.add_state()
    container = life.files.state_dir(made.image_id, made.state_id)
    mode = container.stat().st_mode
    life.end()
    backup = life.path.read_bytes()
    place = life.files.set_aside(container)
    assert (place / "data").is_dir()
    assert not container.exists()
    for path in life.root.glob("state.db*"):
        path.unlink()
    (lives.root / "labels" / "states" / f"{made.state_id}.json").write_bytes(b"")
    lives.next().end()
    assert place.exists()
    lives.root.joinpath("state.db").write_bytes(backup)
    life = lives.next()
    assert not place.exists()
    assert container.stat().st_mode == mode


def test_a_store_from_before_labels_gets_them(lives: Lives) -> None:
    life = lives.current
    life.add_state()
    made = life.add_instance()
    life.store.names.put(name())
    life.end()
    shutil.rmtree(lives.root / "labels")
    life = lives.next()
    stray = life.container(life.files.instance_dir(instance(9).instance_id))
    assert not life.salvage.keeps(Instance, stray.name)
    life.files.discard(stray)
    life.lose_database()
    again = lives.next().store.instances.get(made.instance_id)
    assert (again.dsn, again.name) == (made.dsn, "demo")


def test_without_database_and_labels_all_is_kept(lives: Lives) -> None:
    life = lives.current
    made = life.add_state()
    life.add_instance()
    life.lose_database()
    shutil.rmtree(lives.root / "labels")
    life = lives.next()
    assert life.salvage.keeps(State, made.state_id)
    assert life.salvage.keeps(Instance, instance().instance_id)
    life.salvage.settle()
    assert not life.labels.complete, "not before they are out of the way"


def test_labels_follow_their_rows(lives: Lives) -> None:
    life = lives.current
    made = life.add_state(boot_id="b")
    row = life.add_instance(ttl=5.0)
    labels = life.labels
    life.store.states.set_durable([made.state_id])
    assert labels.read(State, made.state_id).boot_id is None
    path = lives.root / "labels" / "instances" / f"{row.instance_id}.json"
    before = path.stat().st_ino
    life.store.instances.update(row.instance_id, activity_at=NOW)
    assert path.stat().st_ino == before, "what is not in a label does not renew it"
    life.store.instances.update(row.instance_id, ttl=7.0)
    assert labels.read(Instance, row.instance_id).ttl == 7.0
    assert path.stat().st_mode & 0o777 == 0o600
    life.store.names.put(name())
    life.store.names.remove("demo")
    assert labels.read(Name, "demo") is None


def test_a_label_that_cannot_be_written_is_made_good(lives: Lives, monkeypatch, caplog) -> None:
    life = lives.current
    life.salvage.settle()
    life.add_state()

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        made = life.add_instance()
    assert "cannot write the label" in caplog.text
    assert not life.labels.complete
    life = lives.next()
    life.lose_database()
    assert lives.next().store.instances.get(made.instance_id).dsn == made.dsn


def test_without_room_for_labels_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(labels, "private_directory", full)
    life = Life(tmp_path)
    row = life.add_state()
    assert life.ids() == {row.state_id}
    life.salvage.settle()
    assert not life.labels.complete
    life.store.close()
    monkeypatch.undo()
    life = Life(tmp_path)
    life.end()
    assert life.labels.complete
    assert life.labels.read(State, row.state_id) is not None


def test_a_long_chain_is_taken_up_in_order(lives: Lives) -> None:
    life = lives.current
    parents = itertools.chain([None], (f"{number:064x}" for number in itertools.count(1)))
    rows = [life.add_state(number, parent_state_id=next(parents)) for number in range(1, 40)]
    life.lose_database()
    assert lives.next().ids() == {row.state_id for row in rows}
