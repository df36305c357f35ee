"""Making, cloning and publishing containers by plain copies."""

import contextlib
import errno
import os
import shutil
import socket
import stat
import threading

import pytest
from support.waiting import PATIENCE

from sqlrs_engine.errors import Conflict, InvalidArgument, StorageFull
from sqlrs_engine.statefs import StateFs, copying, data_dir
from sqlrs_engine.statefs.copying import CopyBackend

IMAGE = "postgres@sha256:" + "cd" * 32
STATE = "ab" * 32
INSTANCE = "ef" * 16
MIB = 1024 * 1024
HOLE = 4 * MIB


@pytest.fixture
def files(tmp_path):
    files = StateFs(tmp_path, CopyBackend(), owner=None)
    yield files
    assert files.wait_idle()


@pytest.fixture
def workspace(files):
    """A workspace with a small cluster."""
    workspace = files.new_workspace()
    data = data_dir(workspace)
    for directory in ("base/1", "base/5", "global", "pg_tblspc", "pg_wal/archive_status"):
        (data / directory).mkdir(parents=True)
    for number in range(30):
        (data / "base/1" / str(number)).write_bytes(bytes([number]) * number * 500)
        (data / "base/5" / str(number)).write_bytes(b"five" * number)
    (data / "PG_VERSION").write_text("18\n")
    return workspace


@pytest.fixture
def state(files, workspace):
    state = files.state_dir(IMAGE, STATE)
    assert files.publish(workspace, state)
    return state


def contents(directory):
    """Return what is below a directory: the bytes of files, None for directories."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def leftovers(files):
    """Return what lies under construction or is being deleted."""
    assert files.wait_idle()
    return [*files.root.glob("work/*"), *files.root.glob("trash/*")]


def test_a_workspace_waits_for_its_data_directory(files):
    workspace = files.new_workspace()
    assert mode(workspace) == 0o700
    assert not data_dir(workspace).exists()


def test_workspaces_are_all_different(files):
    assert files.new_workspace() != files.new_workspace()


def test_a_clone_holds_what_its_source_does(files, state):
    target = files.instance_dir(INSTANCE)
    files.clone(state, target)
    assert contents(data_dir(target)) == contents(data_dir(state))
    assert leftovers(files) == []


def test_a_clone_of_an_immutable_state_is_writable(files, state):
    clone = files.clone_to_workspace(state)
    directories = [clone, data_dir(clone), data_dir(clone) / "base" / "1"]
    assert [mode(path) for path in directories] == [0o700] * 3
    assert mode(data_dir(clone) / "PG_VERSION") == 0o600
    (data_dir(clone) / "base/1/7").write_text("changed")
    assert (data_dir(state) / "base/1/7").read_bytes() == bytes([7]) * 3500


def test_the_owner_s_mode_bits_are_kept_and_nobody_else_s(files, workspace):
    data = data_dir(workspace)
    (data / "program").touch(mode=0o755)
    (data / "read_only").touch(mode=0o444)
    clone = data_dir(files.clone_to_workspace(workspace))
    assert mode(clone / "program") == 0o700
    assert mode(clone / "read_only") == 0o600


def test_holes_stay_holes(files, workspace):
    sample = data_dir(workspace) / "sparse"
    with sample.open("wb") as file:
        file.seek(HOLE)
        file.write(b"in the middle")
        file.truncate(2 * HOLE)
    (data_dir(workspace) / "empty").write_bytes(b"")
    with (data_dir(workspace) / "nothing_but_a_hole").open("wb") as file:
        file.truncate(HOLE)
    clone = data_dir(files.clone_to_workspace(workspace))
    assert (clone / "sparse").read_bytes() == sample.read_bytes()
    assert (clone / "sparse").stat().st_blocks * 512 <= MIB
    assert (clone / "nothing_but_a_hole").stat().st_size == HOLE
    assert (clone / "nothing_but_a_hole").stat().st_blocks == 0
    assert (clone / "empty").stat().st_size == 0


def test_links_are_copied_as_links(files, workspace):
    (data_dir(workspace) / "link").symlink_to("PG_VERSION")
    (data_dir(workspace) / "dangling").symlink_to("/nonexistent/file")
    clone = data_dir(files.clone_to_workspace(workspace))
    assert (clone / "link").readlink().name == "PG_VERSION"
    assert str((clone / "dangling").readlink()) == "/nonexistent/file"


def test_what_only_a_running_server_needs_is_left_behind(files, workspace, monkeypatch):
    data = data_dir(workspace)
    for name in ("postmaster.pid", "postmaster.opts", ".s.PGSQL.5432.lock"):
        (data / name).write_text("1\n")
    os.mkfifo(data / "fifo")
    (workspace / "postgres.log").write_text("started\n")
    monkeypatch.chdir(data)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        clone = files.clone_to_workspace(workspace)
    names = {path.name for path in data_dir(clone).iterdir()}
    assert names == {"PG_VERSION", "base", "global", "pg_tblspc", "pg_wal"}
    assert not (clone / "postgres.log").exists()


def test_many_databases_take_few_descriptors(files, workspace, monkeypatch):
    monkeypatch.setattr(copying, "DIRECTORIES_AT_ONCE", 2)
    for number in range(7):
        (data_dir(workspace) / "base" / str(100 + number)).mkdir()
        (data_dir(workspace) / "base" / str(100 + number) / "file").write_text(str(number))
    clone = files.clone_to_workspace(workspace)
    assert contents(data_dir(clone)) == contents(data_dir(workspace))


def test_a_tablespace_outside_is_refused_by_name(files, workspace):
    (data_dir(workspace) / "pg_tblspc" / "16384").symlink_to("/srv/fast")
    for attempt in (
        lambda: files.clone(workspace, files.instance_dir(INSTANCE)),
        lambda: files.clone_to_workspace(workspace),
        lambda: files.publish(workspace, files.state_dir(IMAGE, STATE)),
    ):
        with pytest.raises(InvalidArgument, match="16384 in /srv/fast"):
            attempt()
    assert leftovers(files) == [workspace]


def test_a_tablespace_in_place_is_copied(files, workspace):
    inside = data_dir(workspace) / "pg_tblspc" / "16384" / "PG_18"
    inside.mkdir(parents=True)
    (inside / "1").write_text("row")
    clone = data_dir(files.clone_to_workspace(workspace))
    assert (clone / "pg_tblspc/16384/PG_18/1").read_text() == "row"


def test_a_link_in_place_of_the_data_directory_is_not_followed(files, tmp_path):
    workspace = files.new_workspace()
    (tmp_path / "elsewhere").mkdir()
    data_dir(workspace).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotADirectoryError):
        files.clone_to_workspace(workspace)


def test_without_copy_file_range_the_content_is_the_same(files, workspace, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOSYS, "not in this sandbox")

    with (data_dir(workspace) / "sparse").open("wb") as file:
        file.seek(HOLE)
        file.write(b"after a hole")
    monkeypatch.setattr(os, "copy_file_range", unsupported)
    clone = files.clone_to_workspace(workspace)
    assert contents(data_dir(clone)) == contents(data_dir(workspace))


def test_a_file_that_shrinks_is_an_error_and_no_short_copy(files, workspace, monkeypatch):
    monkeypatch.setattr(os, "copy_file_range", lambda *_: 0)
    with pytest.raises(OSError, match="shorter"):
        files.clone_to_workspace(workspace)


def test_several_clones_at_once(files, state):
    ids = [f"{number:032x}" for number in range(6)]
    threads = [
        threading.Thread(target=files.clone, args=(state, files.instance_dir(instance_id)))
        for instance_id in ids
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = contents(data_dir(state))
    assert all(contents(data_dir(files.instance_dir(each))) == expected for each in ids)


def test_one_target_is_given_once(files, state):
    target = files.instance_dir(INSTANCE)
    files.clone(state, target)
    (data_dir(target) / "mine").touch()
    with pytest.raises(Conflict):
        files.clone(state, target)
    assert (data_dir(target) / "mine").exists()
    assert leftovers(files) == []


def test_a_published_state_is_read_only(files, workspace):
    state = files.state_dir(IMAGE, STATE)
    assert files.publish(workspace, state)
    assert not workspace.exists()
    assert (mode(state), mode(data_dir(state))) == (0o500, 0o500)


def test_the_second_of_two_publications_is_discarded(files, state):
    second = files.clone_to_workspace(state)
    (data_dir(second) / "second").touch()
    assert not files.publish(second, state)
    assert not (data_dir(state) / "second").exists()
    assert leftovers(files) == []


def test_of_many_publications_at_once_one_counts(files, state):
    target = files.base_dir(IMAGE, STATE)
    workspaces = [files.clone_to_workspace(state) for _ in range(4)]
    published = []
    threads = [
        threading.Thread(target=lambda each=each: published.append(files.publish(each, target)))
        for each in workspaces
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(published) == [False, False, False, True]
    assert leftovers(files) == []


def test_nothing_is_published_that_cannot_be_sealed(files, workspace, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("sqlrs_engine.statefs.state_fs.seal", full)
    with pytest.raises(StorageFull):
        files.publish(workspace, files.state_dir(IMAGE, STATE))
    assert list(files.state_dirs()) == []


def test_a_workspace_without_a_cluster_is_not_published(files):
    workspace = files.new_workspace()
    with pytest.raises(FileNotFoundError):
        files.publish(workspace, files.state_dir(IMAGE, STATE))
    assert workspace.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("nth", [1, 2, 20, 55])
def test_a_full_disk_leaves_nothing_half_made(files, state, monkeypatch, code, nth):
    calls = iter(range(1, 1000))
    copy = os.copy_file_range

    def fill_up(*arguments):
        if next(calls) >= nth:
            raise OSError(code, os.strerror(code))
        return copy(*arguments)

    monkeypatch.setattr(os, "copy_file_range", fill_up)
    with pytest.raises(StorageFull, match="full: delete"):
        files.clone(state, files.instance_dir(INSTANCE))
    assert not files.instance_dir(INSTANCE).exists()
    # At once: whoever makes room and tries again counts on it.
    assert list(files.root.glob("work/*")) == []


def test_other_failures_say_what_they_are(files, state, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr(os, "copy_file_range", broken)
    with pytest.raises(OSError, match="input/output"):
        files.clone_to_workspace(state)
    assert list(files.root.glob("work/*")) == []


@pytest.mark.parametrize("failing", ["MainThread", "clone"])
def test_a_failure_in_either_thread_stops_both(files, workspace, monkeypatch, failing):
    base = data_dir(workspace) / "base" / "1"
    for number in range(30, 1000):
        (base / str(number)).write_text("row")
    (data_dir(workspace) / "PG_VERSION").unlink()  # few files take one thread only
    copied = []
    failed = threading.Event()
    original = os.copy_file_range

    def fail_in_one(reading, writing, *numbers):
        if threading.current_thread().name.startswith(failing):
            failed.set()
            raise OSError(errno.EIO, "input/output error")
        assert failed.wait(PATIENCE)
        copied.append(reading)
        return original(reading, writing, *numbers)

    monkeypatch.setattr(os, "copy_file_range", fail_in_one)
    with pytest.raises(OSError, match="input/output"):
        files.clone_to_workspace(workspace)
    assert len(copied) < 1000
    assert list(files.root.glob("work/*")) == [workspace]


def test_a_full_disk_stops_a_workspace_as_well(files, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr("sqlrs_engine.statefs.copying.mark", full)
    with pytest.raises(StorageFull):
        files.new_workspace()
    assert list(files.root.glob("work/*")) == []


def test_a_target_out_of_reach_is_an_error(files, state):
    files.instance_dir(INSTANCE).parent.write_text("a file where the instances should be")
    with pytest.raises(FileExistsError):
        files.clone(state, files.instance_dir(INSTANCE))
    assert leftovers(files) == []


def test_what_cannot_be_cleaned_up_does_not_hide_the_failure(files, state, monkeypatch, caplog):
    def broken(*_, **__):
        raise OSError(errno.EIO, "input/output error")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "copy_file_range", full)
    monkeypatch.setattr(os, "rmdir", broken)
    with pytest.raises(StorageFull):
        files.clone_to_workspace(state)
    assert "cannot delete" in caplog.text


@pytest.fixture
def exchanging(workspace, monkeypatch):
    """Exchange a file between its listing and its copying, as the servers' user could."""
    original = os.open

    def start(exchange):
        def exchanged(path, flags, *mode, **options):
            if path == "PG_VERSION" and not flags & os.O_CREAT:
                exchange(data_dir(workspace) / path)
            return original(path, flags, *mode, **options)

        monkeypatch.setattr(os, "open", exchanged)

    return start


def test_a_file_exchanged_for_a_pipe_is_not_waited_for(files, workspace, exchanging):
    def exchange(path):
        path.unlink()
        os.mkfifo(path)

    exchanging(exchange)
    clone = files.clone_to_workspace(workspace)
    assert not (data_dir(clone) / "PG_VERSION").exists()


def test_a_file_exchanged_for_a_link_is_not_followed(files, workspace, exchanging, tmp_path):
    (tmp_path / "secret").write_text("secret")

    def exchange(path):
        path.unlink()
        path.symlink_to(tmp_path / "secret")

    exchanging(exchange)
    with pytest.raises(OSError, match="symbolic links"):
        files.clone_to_workspace(workspace)


def test_a_missing_source_is_an_error(files):
    with pytest.raises(FileNotFoundError):
        files.clone(files.state_dir(IMAGE, STATE), files.instance_dir(INSTANCE))


def test_usage_counts_the_bytes_of_files(files, workspace):
    before = files.usage(workspace)
    with (data_dir(workspace) / "sparse").open("wb") as file:
        file.truncate(HOLE)
    (data_dir(workspace) / "base/1/more").write_bytes(b"x" * 1000)
    (data_dir(workspace) / "link").symlink_to("sparse")
    assert files.usage(workspace) == before + HOLE + 1000


def test_usage_forgives_what_vanishes_meanwhile(files, workspace, monkeypatch):
    """An instance's server deletes files while they are counted."""
    expected = files.usage(workspace)
    doomed = data_dir(workspace) / "base" / "1" / "doomed"
    doomed.write_text("temporary")
    scandir = os.scandir

    @contextlib.contextmanager
    def scan_and_lose(where):
        with scandir(where) as entries:
            found = list(entries)
        if any(entry.name == doomed.name for entry in found):
            doomed.unlink()
        yield found

    monkeypatch.setattr(os, "scandir", scan_and_lose)
    assert files.usage(workspace) == expected


def test_a_sync_waits_for_the_filesystem_of_the_store(files, monkeypatch):
    synced = []
    monkeypatch.setattr(
        "sqlrs_engine.statefs.state_fs.sync", lambda descriptor: synced.append(os.fstat(descriptor))
    )
    files.new_workspace()
    files.sync()
    assert [status.st_ino for status in synced] == [files.root.stat().st_ino]


def test_a_failing_disk_is_told(files, monkeypatch):
    class Libc:
        def __init__(self, *_, **__):
            pass

        def syncfs(self, _):
            return -1

    monkeypatch.setattr("ctypes.CDLL", Libc)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        files.sync()


def test_the_store_may_be_reached_by_a_link(files, state, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    linked = StateFs(tmp_path / "link", CopyBackend(), owner=None)
    clone = linked.clone_to_workspace(linked.state_dir(IMAGE, STATE))
    assert contents(clone / "data") == contents(data_dir(state))
    linked.sync()
    linked.discard(clone)
    assert linked.wait_idle()
    assert not clone.exists()


def test_two_containers_swap_their_places(files, workspace):
    target = files.instance_dir("ab" * 16)
    files.clone(workspace, target)
    (data_dir(target) / "old").touch()
    other = files.clone_to_workspace(workspace)
    files.exchange(target, other)
    assert not (data_dir(target) / "old").exists()
    assert (data_dir(other) / "old").exists()
    assert set((files.root / "work").iterdir()) == {workspace, other}


def test_where_directories_cannot_be_exchanged_they_are_moved(files, workspace, monkeypatch):
    # No such flag: EINVAL.
    monkeypatch.setattr("sqlrs_engine.statefs.exchange.RENAME_EXCHANGE", 1 << 30)
    test_two_containers_swap_their_places(files, workspace)


def no_data(container):
    shutil.rmtree(container / "data")


def data_that_is_a_link(container):
    (container / "data").rename(container / "moved")
    (container / "data").symlink_to("moved")


def a_link(container):
    container.rename(container.with_name("moved"))
    container.symlink_to("moved")


def a_file(container):
    shutil.rmtree(container)
    container.touch()


def no_version(container):
    (container / "data" / "PG_VERSION").unlink()


def no_control_file(container):
    (container / "data" / "global" / "pg_control").unlink()


def an_empty_control_file(container):
    (container / "data" / "global" / "pg_control").write_bytes(b"")


def a_zeroed_control_file(container):
    (container / "data" / "global" / "pg_control").write_bytes(bytes(8192))


def a_pipe_for_a_control_file(container):
    (container / "data" / "global" / "pg_control").unlink()
    os.mkfifo(container / "data" / "global" / "pg_control")


@pytest.mark.parametrize(
    "damage",
    [
        *(no_data, data_that_is_a_link, a_link, a_file, no_version, no_control_file),
        *(an_empty_control_file, a_zeroed_control_file, a_pipe_for_a_control_file),
    ],
)
def test_what_is_no_cluster_is_not_whole(files, workspace, damage):
    (data_dir(workspace) / "global" / "pg_control").write_bytes(b"x" * 8192)
    assert files.is_whole(workspace)
    damage(workspace)
    assert not files.is_whole(workspace)


def test_a_damaged_container_can_be_discarded(files, workspace):
    target = files.state_dir(IMAGE, STATE)
    files.publish(workspace, target)
    for path in (target, data_dir(target)):
        path.chmod(0o700)
    data_that_is_a_link(target)
    files.discard(target)
    assert not target.exists()


@pytest.mark.parametrize("damage", [a_link, a_file])
def test_whatever_is_in_a_containers_place_can_be_set_aside(files, workspace, damage):
    target = files.state_dir(IMAGE, STATE)
    target.parent.mkdir(parents=True)
    workspace.rename(target)
    damage(target)
    with pytest.raises(Conflict):
        files.discard(target)
    place = files.set_aside(target)
    assert os.path.lexists(place)
    assert not os.path.lexists(target)
    target.touch()
    assert files.set_aside(target) != place, "one beside the other"
