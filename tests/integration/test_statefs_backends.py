"""Every backend on a filesystem of its own, and PostgreSQL on top."""

import contextlib
import os
import stat
import subprocess
import threading
import traceback
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlrs_engine.errors import Conflict, StorageFull
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.statefs import StateFs, btrfs, data_dir, removal
from sqlrs_engine.statefs.copying import CopyBackend
from sqlrs_engine.statefs.probe import choose_backend
from sqlrs_engine.statefs.reflink import ReflinkBackend
from sqlrs_engine.statefs.snapshots import BtrfsBackend
from sqlrs_engine.statefs.tree import opened

IMAGE = "postgres@sha256:" + "cd" * 32
STATE = "ab" * 32
INSTANCE = "ef" * 16
NOBODY = 65534
MIB = 1024 * 1024
# What the directories of a store take.
MARGIN_BLOCKS = 8

needs_root = pytest.mark.root


def store_on(directory: Path) -> Path:
    """Make an empty store on a filesystem that tests share."""
    root = directory / uuid.uuid4().hex
    root.mkdir(mode=0o700)
    return root


@pytest.fixture
def xfs(xfs_root):
    return store_on(xfs_root)


@pytest.fixture
def on_btrfs(btrfs_root):
    return store_on(btrfs_root)


@pytest.fixture(
    params=[
        "copy",
        pytest.param("reflink", marks=needs_root),
        pytest.param("btrfs", marks=needs_root),
    ]
)
def files(request, tmp_path):
    """The files of an engine, on the filesystem where each backend is the natural one."""
    if request.param == "copy":
        root, backend = tmp_path, choose_backend(tmp_path, "copy")
    else:
        root = request.getfixturevalue({"reflink": "xfs", "btrfs": "on_btrfs"}[request.param])
        backend = choose_backend(root, "auto")
    assert backend.name == request.param
    assert list(root.iterdir()) == []
    files = StateFs(root, backend, owner=owner())
    yield files
    assert files.wait_idle()


def owner():
    user = OsUser.for_engine(None)
    return (user.uid, user.gid) if user else None


def make(files: StateFs, size: int = 300_000) -> Path:
    """Make a workspace with some files of ``size`` bytes in all."""
    workspace = files.new_workspace()
    base = data_dir(workspace) / "base" / "5"
    base.mkdir(parents=True)
    for number in range(30):
        (base / str(number)).write_bytes(os.urandom(size // 30))
    if owner() is not None:
        for path in (data_dir(workspace), *data_dir(workspace).rglob("*")):
            os.chown(path, *owner())
    return workspace


def publish(files: StateFs, workspace: Path) -> Path:
    state = files.state_dir(IMAGE, STATE)
    assert files.publish(workspace, state)
    return state


def contents(container: Path) -> dict[str, bytes]:
    data = data_dir(container)
    return {
        str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()
    }


def is_subvolume(path: Path) -> bool:
    with opened(path) as directory:
        return btrfs.is_subvolume(directory)


def test_from_workspace_to_state_to_instance_to_nothing(files):
    workspace = make(files)
    expected = contents(workspace)
    state = publish(files, workspace)
    instance = files.instance_dir(INSTANCE)
    files.clone(state, instance)
    assert contents(instance) == contents(state) == expected
    (data_dir(instance) / "base/5/0").write_text("changed")
    (data_dir(instance) / "new").touch()
    assert contents(state) == expected
    files.discard(instance)
    files.discard(state)
    assert not instance.exists()
    assert not state.exists()
    assert files.wait_idle()
    assert list(files.root.glob("work/*")) + list(files.root.glob("trash/*")) == []


def test_a_clone_belongs_to_the_user_of_the_servers(files):
    workspace = make(files)
    (data_dir(workspace) / "link").symlink_to("/nonexistent")
    if owner() is not None:
        os.chown(data_dir(workspace) / "link", *owner(), follow_symlinks=False)
    clone = files.clone_to_workspace(publish(files, workspace))
    expected = owner() or (os.geteuid(), os.getegid())
    for path in (data_dir(clone), *data_dir(clone).rglob("*")):
        status = path.lstat()
        assert (status.st_uid, status.st_gid) == expected, path
    assert clone.stat().st_uid == os.geteuid()
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (clone, data_dir(clone))]
    assert modes == [0o700, 0o700]


@needs_root
def test_a_clone_belongs_to_the_new_user_when_the_user_changed(files):
    if os.geteuid() != 0:
        pytest.skip("giving files away takes root")
    state = publish(files, make(files))
    (uid, gid) = (NOBODY - 1, NOBODY - 2)
    clone = StateFs(files.root, files.backend, owner=(uid, gid)).clone_to_workspace(state)
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in data_dir(clone).rglob("*")}
    assert owners == {(uid, gid)}


def test_the_clone_is_without_what_a_server_left(files):
    workspace = make(files)
    (workspace / "postgres.log").touch()
    for name in ("postmaster.pid", "postmaster.opts", ".s.PGSQL.5432.lock"):
        (data_dir(workspace) / name).touch()
    clone = files.clone_to_workspace(workspace)
    assert [path.name for path in data_dir(clone).iterdir()] == ["base"]
    assert sorted(path.name for path in clone.iterdir()) == [".sqlrs-container", "data"]


def test_the_second_publication_is_discarded(files):
    state = publish(files, make(files))
    before = contents(state)
    assert not files.publish(make(files), state)
    assert contents(state) == before


def test_many_clones_at_once(files):
    state = publish(files, make(files))
    expected = contents(state)
    clones: list[Path] = []
    threads = [
        threading.Thread(target=lambda: clones.append(files.clone_to_workspace(state)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [contents(clone) for clone in clones] == [expected] * 6


@needs_root
def test_a_store_on_btrfs_can_be_deleted_by_ordinary_means(on_btrfs):
    files = StateFs(on_btrfs, BtrfsBackend(), owner=owner())
    state = publish(files, make(files))
    subprocess.run(["rm", "-rf", str(state)], check=True)
    assert not state.exists()


@needs_root
def test_reflinks_take_no_space(xfs):
    files = StateFs(xfs, ReflinkBackend(), owner=owner())
    state = publish(files, make(files, 30 * MIB))
    files.sync()
    before = os.statvfs(xfs)
    for _ in range(5):
        files.clone_to_workspace(state)
    files.sync()
    taken = (before.f_bavail - os.statvfs(xfs).f_bavail) * before.f_frsize
    assert taken < 15 * MIB


@needs_root
def test_a_file_that_cannot_be_shared_is_copied(tmp_path, on_btrfs):
    """On ext4 that is every file: a store that was moved, say."""
    files = StateFs(tmp_path, ReflinkBackend(), owner=None)
    workspace = make(files)
    assert contents(files.clone_to_workspace(workspace)) == contents(workspace)


@needs_root
@pytest.mark.parametrize("before", [CopyBackend(), ReflinkBackend(), BtrfsBackend()])
@pytest.mark.parametrize("after", [CopyBackend(), ReflinkBackend(), BtrfsBackend()])
def test_backends_take_over_from_each_other(on_btrfs, before, after):
    """The setting may change between two starts."""
    earlier = StateFs(on_btrfs, before, owner=owner())
    state = publish(earlier, make(earlier))
    files = StateFs(on_btrfs, after, owner=owner())
    clone = files.clone_to_workspace(state)
    assert contents(clone) == contents(state)
    again = files.state_dir(IMAGE, "01" * 32)
    assert files.publish(clone, again)
    for path in (state, again):
        files.discard(path)
    assert files.wait_idle()
    assert list(on_btrfs.glob("trash/*")) == []


@needs_root
def test_every_container_on_btrfs_is_a_subvolume(on_btrfs):
    files = StateFs(on_btrfs, BtrfsBackend(), owner=owner())
    workspace = make(files)
    state = publish(files, workspace)
    clone = files.clone_to_workspace(state)
    assert [is_subvolume(path) for path in (state, clone, data_dir(clone))] == [True, True, False]


@needs_root
def test_a_subvolume_within_a_container_is_deleted_too(on_btrfs):
    files = StateFs(on_btrfs, BtrfsBackend(), owner=owner())
    workspace = make(files)
    with opened(data_dir(workspace)) as data:
        btrfs.create_subvolume(data, "nested")
    files.discard(workspace)
    assert files.wait_idle()
    assert list(on_btrfs.glob("trash/*")) == []


def as_nobody(work: Callable[[], None]) -> str:
    """Run a function in a child that is an ordinary user; return its traceback, if any.

    The child is forked, since such a user may not be able to read this Python's files.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Of threads in the parent: the child takes no lock of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        report = "the child was cut short"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            report = ""
        except BaseException:
            report = traceback.format_exc()
        finally:
            os.write(writing, report.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        report = pipe.read()
    os.waitpid(child, 0)
    return report


def live(root: Path, kind: str) -> None:
    """Do with a store all that an engine does."""
    backend = choose_backend(root, "auto")
    assert backend.name == kind
    assert list(root.iterdir()) == []
    files = StateFs(root, backend, owner=None)
    workspace = files.new_workspace()
    (data_dir(workspace) / "base").mkdir(parents=True)
    (data_dir(workspace) / "base" / "file").write_text("row")
    state = publish(files, workspace)
    with pytest.raises(OSError, match=r"denied|Read-only"):
        (data_dir(state) / "new").touch()
    assert not files.publish(files.clone_to_workspace(state), state)
    instance = files.instance_dir(INSTANCE)
    files.clone(state, instance)
    (data_dir(instance) / "base" / "file").write_text("changed")
    files.discard(instance)
    files.discard(state)
    assert not state.exists()
    assert not instance.exists()
    assert files.wait_idle()
    assert list(root.glob("work/*")) + list(root.glob("trash/*")) == []


@needs_root
@pytest.mark.parametrize("kind", ["copy", "reflink", "btrfs"])
def test_an_ordinary_user_can_do_it_all(request, kind):
    """On btrfs too, where the quick way to delete a subvolume is root's."""
    fixture = {"copy": "small_disk", "reflink": "xfs_root", "btrfs": "btrfs_root"}[kind]
    root = store_on(request.getfixturevalue(fixture))
    os.chown(root, NOBODY, NOBODY)
    report = as_nobody(lambda: live(root, kind))
    if report:
        pytest.fail(report)


@needs_root
def test_a_full_disk_is_said_and_its_space_given_back(small_disk):
    files = StateFs(small_disk, CopyBackend(), owner=owner())
    state = publish(files, make(files, 15 * MIB))
    free = os.statvfs(small_disk).f_bavail
    made = files.clone_to_workspace(state)
    with pytest.raises(StorageFull, match="delete states or instances"):
        files.clone(state, files.instance_dir(INSTANCE))
    assert list(small_disk.glob("work/*")) == [made]
    assert contents(made) == contents(state)
    files.discard(made)
    assert files.wait_idle()
    files.sync()
    assert os.statvfs(small_disk).f_bavail >= free - MARGIN_BLOCKS
    files.clone(state, files.instance_dir(INSTANCE))


@contextlib.contextmanager
def mounted_on(directory: Path):
    directory.mkdir(exist_ok=True)
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@needs_root
@pytest.mark.parametrize("below", ["", "data", "data/base/5"])
def test_a_mounted_filesystem_is_neither_deleted_nor_entered(tmp_path, below):
    files = StateFs(tmp_path, CopyBackend(), owner=None)
    workspace = make(files)
    with mounted_on(workspace / below):
        (workspace / below / "precious").write_text("keep me")
        (workspace / ".sqlrs-container").touch()
        with pytest.raises(Conflict, match="mounted"):
            files.discard(workspace)
        if below:  # mounted after the container was looked at
            with pytest.raises(OSError, match="mounted there"):
                removal.remove(workspace)
        assert (workspace / below / "precious").exists()


@needs_root
def test_a_bind_mount_of_the_same_filesystem_is_not_entered_either(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    files = StateFs(tmp_path, CopyBackend(), owner=None)
    workspace = make(files)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_text("keep me")
    place = data_dir(workspace) / "bind"
    place.mkdir()
    subprocess.run(["mount", "--bind", str(tmp_path / "outside"), str(place)], check=True)
    try:
        with pytest.raises(OSError, match="mounted there"):
            removal.remove(workspace)
    finally:
        subprocess.run(["umount", str(place)], check=True)
    assert (tmp_path / "outside" / "precious").exists()


@pytest.mark.postgres
def test_postgresql_lives_through_it_all(files):
    distributions = Distributions(files.root / "distributions")
    distribution = distributions.resolve("postgres")

    def cluster(container: Path) -> Cluster:
        return Cluster(
            distribution,
            data_dir(container),
            os_user=OsUser.for_engine(None),
            log_file=container / "postgres.log",
        )

    @contextlib.contextmanager
    def running(container: Path):
        server = cluster(container)
        postmaster = server.start(port=None)
        try:
            with server.connect(postmaster.port) as connection:
                yield connection
        finally:
            server.stop("fast")

    def rows(container: Path) -> list[int]:
        with running(container) as connection:
            return [n for (n,) in connection.execute("SELECT n FROM t ORDER BY n")]

    workspace = files.new_workspace()
    cluster(workspace).initdb(lambda line: None)
    with running(workspace) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    state = files.base_dir(distribution.image_id, STATE)
    assert files.publish(workspace, state)
    first, second = files.instance_dir("01" * 16), files.instance_dir("02" * 16)
    files.clone(state, first)
    with running(first) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    files.clone(state, second)
    assert rows(first) == [1, 2]
    assert rows(second) == [1]
    promoted = files.clone_to_workspace(first)
    assert files.publish(promoted, files.state_dir(distribution.image_id, STATE))
    third = files.clone_to_workspace(files.state_dir(distribution.image_id, STATE))
    assert rows(third) == [1, 2]
    for container in (first, second, third, state):
        files.discard(container)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_descriptors_are_all_closed(files):
    state = publish(files, make(files))
    before = open_descriptors()
    for _ in range(3):
        files.discard(files.clone_to_workspace(state))
    assert files.wait_idle()
    assert open_descriptors() == before
