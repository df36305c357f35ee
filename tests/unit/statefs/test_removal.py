"""Deleting containers, and nothing but containers."""

import errno
import os
import threading
from pathlib import Path

import pytest
from support.waiting import eventually

from sqlrs_engine import retry_queue
from sqlrs_engine.errors import Conflict
from sqlrs_engine.statefs import StateFs, data_dir, removal, tree
from sqlrs_engine.statefs.copying import CopyBackend

IMAGE = "postgres@sha256:" + "cd" * 32
STATE = "ab" * 32


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "store"
    root.mkdir()
    return root


@pytest.fixture
def files(root):
    files = engine(root)
    yield files
    assert files.wait_idle()


def engine(root):
    """The files as one life of an engine sees them."""
    return StateFs(root, CopyBackend(), owner=None)


def make(files):
    """Make a workspace with a file in it."""
    workspace = files.new_workspace()
    (data_dir(workspace) / "base").mkdir(parents=True)
    (data_dir(workspace) / "base" / "file").write_text("row")
    return workspace


def trash(root):
    return list(root.glob("trash/*"))


def precious(directory):
    """Make a directory that looks like a container from within, with a file to lose."""
    directory.mkdir(parents=True)
    (directory / "precious").write_text("keep me")
    return directory


def test_a_container_is_gone_at_once_and_deleted_in_the_end(files, root):
    workspace = make(files)
    files.discard(workspace)
    assert not workspace.exists()
    assert files.wait_idle()
    assert trash(root) == []


def test_discarding_a_container_that_is_gone_does_nothing(files, root):
    workspace, other = make(files), make(files)
    files.discard(workspace)
    files.discard(workspace)
    files.discard(files.instance_dir("ef" * 16))
    assert files.wait_idle()
    assert trash(root) == []
    assert other.is_dir()


def test_a_workspace_in_which_nothing_was_made_can_be_discarded(files, root):
    files.discard(files.new_workspace())
    assert files.wait_idle()
    assert trash(root) == []


def test_an_immutable_state_can_be_discarded(files, root):
    state = files.state_dir(IMAGE, STATE)
    assert files.publish(make(files), state)
    files.discard(state)
    assert not state.exists()
    assert files.wait_idle()
    assert trash(root) == []


def test_read_only_directories_below_are_deleted_too(files, root):
    workspace = make(files)
    (data_dir(workspace) / "base").chmod(0o500)
    files.discard(workspace)
    assert files.wait_idle()
    assert trash(root) == []


def test_one_container_discarded_by_many(files, root):
    workspace = make(files)
    failures = []

    def discard():
        try:
            files.discard(workspace)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=discard) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert files.wait_idle()
    assert trash(root) == []


def test_links_below_are_deleted_and_not_followed(files, tmp_path):
    outside = precious(tmp_path / "outside")
    workspace = make(files)
    (data_dir(workspace) / "link").symlink_to(outside)
    files.discard(workspace)
    assert files.wait_idle()
    assert (outside / "precious").exists()


def test_a_link_in_place_of_a_container_is_refused(files, tmp_path):
    target = make(files)
    link = target.with_name("link")
    link.symlink_to(target)
    with pytest.raises(Conflict, match="not a directory"):
        files.discard(link)
    assert (data_dir(target) / "base" / "file").exists()


def test_a_way_through_a_link_to_outside_is_refused(files, tmp_path, root):
    other = engine(tmp_path / "other")
    (tmp_path / "other").mkdir()
    theirs = make(other)
    (root / "way").symlink_to(theirs.parent)
    for path in (root / "way" / theirs.name, theirs, root / "work" / ".." / ".." / "other"):
        with pytest.raises(Conflict, match="outside"):
            files.discard(path)
    assert theirs.exists()


def test_the_store_itself_is_refused(files, root):
    make(files)
    for path in (root, root / "work" / "..", root.parent):
        with pytest.raises(Conflict, match="outside"):
            files.discard(path)


@pytest.mark.parametrize("place", ["notes", "work", "work/notes", "instances/notes"])
def test_a_directory_without_the_marker_is_refused(files, root, place):
    directory = precious(root / place)
    with pytest.raises(Conflict, match="marker"):
        files.discard(directory)
    assert (directory / "precious").exists()


def test_a_marker_that_is_a_link_is_none(files, root):
    directory = precious(root / "instances" / "ef")
    (directory / ".sqlrs-container").symlink_to("precious")
    with pytest.raises(Conflict, match="marker"):
        files.discard(directory)


def test_a_file_is_refused(files, root):
    (root / "file").touch()
    with pytest.raises(Conflict, match="not a directory"):
        files.discard(root / "file")


def test_another_filesystem_is_refused(files, root, tmp_path, monkeypatch):
    workspace = make(files)
    table = tmp_path / "mountinfo"
    monkeypatch.setattr(tree, "MOUNTS", table)
    for place in (workspace, data_dir(workspace) / "a b"):
        escaped = str(place).replace(" ", "\\040")
        table.write_text(f"36 35 0:1 / {escaped} rw - tmpfs tmpfs rw\n")
        with pytest.raises(Conflict, match="mounted"):
            files.discard(workspace)
    assert workspace.exists()
    table.write_text(f"36 35 0:1 / {workspace}-other rw - tmpfs tmpfs rw\n")
    files.discard(workspace)


def test_another_filesystem_is_not_entered_by_the_deletion_either(files, monkeypatch):
    """It may have been mounted after the container was looked at."""
    workspace = make(files)
    mount_ids = iter(["1", "1", "2"])
    monkeypatch.setattr(tree, "mount_id", lambda _: next(mount_ids))
    with pytest.raises(OSError, match="mounted"):
        removal.remove(workspace)
    assert (data_dir(workspace) / "base" / "file").exists()


def test_a_full_disk_does_not_keep_anything_from_being_deleted(files, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    workspace = make(files)
    monkeypatch.setattr(Path, "rename", full)
    files.discard(workspace)
    assert not workspace.exists()


def test_what_cannot_be_deleted_is_logged_and_the_rest_deleted(files, root, monkeypatch, caplog):
    rmdir = os.rmdir

    def refuse(name, **where):
        if name == "stubborn":
            raise OSError(errno.EIO, "input/output error")
        rmdir(name, **where)

    stubborn, other = make(files), make(files)
    (data_dir(stubborn) / "stubborn").mkdir()
    monkeypatch.setattr(os, "rmdir", refuse)
    files.discard(stubborn)
    files.discard(other)
    assert files.wait_idle()
    assert len(trash(root)) == 1
    assert "trying again" in caplog.text
    monkeypatch.undo()
    following = engine(root)
    following.sweep()
    assert following.wait_idle()
    assert trash(root) == []


def test_waiting_for_the_deletion_is_bounded(files, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(removal, "remove", lambda *_: go_on.wait(10))
    files.discard(make(files))
    assert not files.wait_idle(0.01)
    go_on.set()
    assert files.wait_idle()


def test_clones_go_before_deletions_unless_somebody_waits_for_the_space(files, root):
    container, copy = make(files), make(files)
    clone = files.backend.clone
    seen = []

    def slow_clone(*arguments):
        files.discard(container)
        threading.Event().wait(0.1)
        seen.append(len(trash(root)))  # the deletion rests
        assert files.wait_idle()
        seen.append(len(trash(root)))
        clone(*arguments)

    files.backend.clone = slow_clone
    files.clone_to_workspace(copy)
    assert seen == [1, 0]


def test_what_is_discarded_later_is_not_waited_for(files, monkeypatch):
    remove, go_on = removal.remove, threading.Event()
    first, second = make(files), make(files)

    def add_another(grave, pause):
        remove(grave, pause)
        if not files.wait_idle(0):  # the first
            files.discard(second)
        else:
            go_on.wait(60)

    monkeypatch.setattr(removal, "remove", add_another)
    files.discard(first)
    assert files.wait_idle()
    go_on.set()
    assert files.wait_idle()


def test_the_next_engine_sweeps_what_a_killed_one_left(files, root):
    unfinished = make(files)
    grave = root / "trash" / "half-deleted"
    grave.parent.mkdir()
    make(files).rename(grave)
    (data_dir(grave) / "base" / "file").unlink()
    unmarked = root / "work" / "killed-before-the-marker"
    unmarked.mkdir()
    following = engine(root)
    assert set(following.leftovers()) == {unfinished, unmarked}
    following.sweep()
    assert following.wait_idle()
    assert following.leftovers() == []
    assert not unfinished.exists()
    assert not grave.exists()
    assert not unmarked.exists()


def test_a_start_deletes_empty_clusters_that_were_not_used_for_long(files, root):
    used, unused, former = (
        files.base_dir(IMAGE, "ab" * 32),
        files.base_dir(IMAGE, "cd" * 32),
        files.base_dir(IMAGE, "ef" * 32).parent.parent / "base",  # of an earlier version
    )
    for base in (used, unused, former):
        assert files.publish(make(files), base)
    for base in (used, unused):
        os.utime(base, (0, 0))
    files.note_use(used)
    files.sweep()
    assert used.exists()
    assert not unused.exists()
    assert not former.exists()


def test_the_use_of_an_empty_cluster_that_is_gone_is_not_noted(files):
    base = files.base_dir(IMAGE, "ab" * 32)
    files.note_use(base)
    assert not base.exists()


def test_an_engine_sweeps_nothing_of_its_own_and_nothing_in_use(files):
    workspace = make(files)
    state, instance = files.state_dir(IMAGE, STATE), files.instance_dir("ef" * 16)
    assert files.publish(make(files), state)
    files.clone(state, instance)
    assert files.leftovers() == []
    files.sweep()
    assert files.wait_idle()
    assert all(path.exists() for path in (workspace, state, instance))


def test_a_sweep_takes_nothing_that_the_engine_did_not_make(files, root, tmp_path, caplog):
    notes = precious(root / "work" / "notes")
    outside = precious(tmp_path / "outside")
    (root / "trash").mkdir()
    (root / "trash" / "link").symlink_to(outside)
    files.sweep()
    assert files.wait_idle()
    assert (notes / "precious").exists()
    assert (outside / "precious").exists()
    assert caplog.text.count("cannot delete") == 2


def test_what_could_not_be_deleted_at_first_goes_later(files, root, monkeypatch):
    monkeypatch.setattr(retry_queue, "RETRY_SECONDS", 0.01)
    rmdir, failures = os.rmdir, iter([OSError(errno.EIO, "input/output error")] * 3)

    def refuse(name, **where):
        for failure in failures:
            raise failure
        rmdir(name, **where)

    monkeypatch.setattr(os, "rmdir", refuse)
    files.discard(make(files))
    eventually(lambda: trash(root) == [])


def test_the_marker_goes_last(files, monkeypatch):
    """So that a deletion cut short at any point can be taken up again."""
    workspace = make(files)
    (workspace / "postgres.log").touch()
    removed = []
    unlink, rmdir = os.unlink, os.rmdir
    monkeypatch.setattr(os, "unlink", lambda n, **w: (removed.append(n), unlink(n, **w)))
    monkeypatch.setattr(os, "rmdir", lambda n, **w: (removed.append(n), rmdir(n, **w)))
    removal.remove(workspace)
    assert removed[-2:] == [".sqlrs-container", workspace.name]
    assert set(removed[:-2]) == {"file", "base", "data", "postgres.log"}
