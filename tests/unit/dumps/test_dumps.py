"""dumps: uploads, their place on the disk, their use, their deletion and their eviction."""

import errno
import hashlib
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from sqlrs_engine.clock import shift
from sqlrs_engine.dumps import Dump, Dumps, directory
from sqlrs_engine.errors import (
    Conflict,
    DumpMissing,
    InvalidArgument,
    NotFound,
    StorageFull,
    Unavailable,
)

NOW = "2026-03-01T09:30:00.000000Z"


class Room:
    """Notes what is asked for, and frees nothing unless told otherwise."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.refusal: StorageFull | None = None
        self.relieved: list[int] = []
        self.on_relief = lambda: False

    def make_room(self, phase: str, *, growth: int) -> None:
        assert phase == "dump_upload"
        self.asked.append(growth)
        if self.refusal is not None:
            raise self.refusal

    def relieve(self, phase: str, failure: StorageFull, *, growth: int) -> bool:
        assert phase == "dump_upload"
        self.relieved.append(growth)
        return self.on_relief()


class World:
    """A store of dumps, with its jobs, its clock and its disk space."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = NOW
        self.jobs: list[SimpleNamespace] = []
        self.room = Room()
        self.dumps = self.restarted()

    def restarted(self) -> Dumps:
        return Dumps(self.root, lambda: self.jobs, lambda: self.room, clock=lambda: self.now)

    def put(self, content: bytes, label: str | None = None) -> Dump:
        return self.upload(content, label)[0]

    def upload(self, content: bytes, label: str | None = None) -> tuple[Dump, bool]:
        upload = self.dumps.receive()
        try:
            for at in range(0, len(content), 1000):
                upload.write(content[at : at + 1000])
            return self.dumps.keep(upload, label)
        finally:
            self.dumps.end(upload)

    def job(self, **request: object) -> None:
        self.jobs.append(SimpleNamespace(job_id=f"job{len(self.jobs)}", request=request))

    def files(self) -> list[Path]:
        return [path for path in (self.root / "dumps").rglob("*") if path.is_file()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_dump_is_kept_under_its_digest(world: World) -> None:
    content = b"PGDMP" * 1000
    dump, is_new = world.upload(content, "app on db, today")
    assert is_new
    assert dump == Dump(
        dump_id=digest_of(content),
        size_bytes=5000,
        created_at=NOW,
        last_used_at=NOW,
        label="app on db, today",
    )
    path = world.dumps.path(dump.dump_id)
    assert path.read_bytes() == content
    assert [stat.S_IMODE(each.stat().st_mode) for each in world.files()] == [0o600, 0o600]
    for parent in (path.parent, path.parents[1], world.root / "dumps"):
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    assert not list((world.root / "dumps" / "tmp").iterdir())


def test_dumps_outlive_a_restart(world: World) -> None:
    one = world.put(b"one", "first")
    world.now = shift(NOW, 60)
    two = world.put(b"two")
    world.now = shift(NOW, 120)
    world.dumps.path(one.dump_id)
    after = world.restarted().find()
    assert after == world.dumps.find()
    assert [(dump.dump_id, dump.label) for dump in after] == [
        (one.dump_id, "first"),
        (two.dump_id, None),
    ]
    assert [dump.last_used_at for dump in after] == [shift(NOW, 120), shift(NOW, 60)]


def test_the_same_content_is_kept_once_and_used_again(world: World) -> None:
    dump = world.put(b"one", "first")
    world.now = shift(NOW, 60)
    again, is_new = world.upload(b"one", "second")
    assert not is_new
    assert (again.dump_id, again.label, again.created_at) == (dump.dump_id, "first", NOW)
    assert again.last_used_at == shift(NOW, 60)
    assert world.dumps.find() == [again]
    assert not list((world.root / "dumps" / "tmp").iterdir())


def test_uploads_of_the_same_content_at_once(world: World) -> None:
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(world.upload(b"x" * 5000)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(is_new for _, is_new in outcomes) == [False] * 7 + [True]
    assert world.dumps.totals().size_bytes == 5000


def test_an_unfinished_upload_leaves_nothing(world: World) -> None:
    upload = world.dumps.receive()
    upload.write(b"x" * 1000)
    assert world.dumps.totals().size_bytes == 1000
    world.dumps.end(upload)
    assert not world.files()
    assert world.dumps.totals().size_bytes == 0


def test_what_a_killed_engine_left_is_swept(world: World) -> None:
    kept = world.put(b"kept")
    killed = world.dumps.receive()
    killed.write(b"x")
    after = world.restarted()
    mine = after.receive()
    mine.write(b"y")
    after.sweep()
    names = {path.name for path in world.files()}
    assert names == {"dump", "about.json"}
    assert len(world.files()) == 3
    assert after.find() == [kept]
    after.end(mine)
    world.dumps.end(killed)


def test_a_stop_discards_uploads_and_keeps_dumps(world: World) -> None:
    kept = world.put(b"kept")
    upload = world.dumps.receive()
    upload.write(b"x")
    world.dumps.stop()
    assert len(world.files()) == 2
    upload.write(b"y")
    with pytest.raises(Unavailable):
        world.dumps.keep(upload)
    world.dumps.end(upload)
    with pytest.raises(Unavailable):
        world.dumps.receive()
    assert world.restarted().find() == [kept]


def test_an_empty_upload_is_refused(world: World) -> None:
    with pytest.raises(InvalidArgument, match=r"empty.*pg_dump"):
        world.put(b"")
    assert not world.files()


def test_a_damaged_dump_is_left_alone_and_not_offered(world: World) -> None:
    whole, cut = world.put(b"whole"), world.put(b"cut off")
    world.dumps.path(cut.dump_id).write_bytes(b"cut")
    after = world.restarted()
    assert after.find() == [whole]
    with pytest.raises(DumpMissing):
        after.path(cut.dump_id)


def test_a_missing_dump_comes_with_advice(world: World) -> None:
    with pytest.raises(DumpMissing, match=r"sqlrs-engine import.*evicted") as failure:
        world.dumps.path("ab" * 32)
    assert failure.value.code == "dump_missing"
    with pytest.raises(NotFound):
        world.dumps.get("ab" * 32)
    with pytest.raises(NotFound):
        world.dumps.delete("ab" * 32)


def test_dumps_are_found_by_a_prefix(world: World) -> None:
    dump = world.put(b"one")
    world.put(b"two")
    assert world.dumps.find(dump.dump_id[:10]) == [dump]
    assert world.dumps.find("ffffffffff") == []


def test_a_dump_is_deleted(world: World) -> None:
    dump = world.put(b"one")
    world.dumps.delete(dump.dump_id, dry_run=True)
    assert world.dumps.find() == [dump]
    world.dumps.delete(dump.dump_id)
    assert (world.dumps.find(), world.files()) == ([], [])


@pytest.mark.parametrize("nested", [True, False])
def test_a_dump_that_a_job_uses_stays(world: World, nested: bool) -> None:
    dump = world.put(b"one")
    stage = {"kind": "dump", "dump_id": dump.dump_id}
    world.job(prepare_kind="psql", psql_args=["-c", "select 1"])
    world.job(**({"stages": [{"kind": "psql"}, stage]} if nested else stage))
    with pytest.raises(Conflict, match=r"wait for the jobs.*job1"):
        world.dumps.delete(dump.dump_id)
    assert world.dumps.evictable(shift(NOW, 1)) == []
    world.jobs.clear()
    assert world.dumps.evictable(shift(NOW, 1)) == [dump]
    world.dumps.delete(dump.dump_id)


def test_the_least_recently_used_dumps_go_first_and_young_ones_stay(world: World) -> None:
    dumps = []
    for number in range(3):
        world.now = shift(NOW, 60 * number)
        dumps.append(world.put(b"x" * (number + 1)))
    world.now = shift(NOW, 600)
    world.dumps.path(dumps[0].dump_id)
    assert world.dumps.evictable(shift(NOW, 60)) == [dumps[1]]
    assert world.dumps.evictable(shift(NOW, 120)) == [dumps[1], dumps[2]]
    ids = [dump.dump_id for dump in world.dumps.evictable(world.now)]
    assert ids == [dumps[1].dump_id, dumps[2].dump_id, dumps[0].dump_id]


def test_a_dump_that_came_into_use_is_not_evicted(world: World) -> None:
    world.put(b"one")
    [listed] = world.dumps.evictable(NOW)
    world.dumps.path(listed.dump_id)
    assert not world.dumps.evict(listed)
    [listed] = world.dumps.evictable(NOW)
    assert world.dumps.evict(listed)
    assert not world.files()


def test_room_is_made_in_growing_steps(world: World) -> None:
    world.put(b"x" * 10_000)
    assert world.room.asked[:3] == [1000, 1000, 2000]
    assert 10_000 <= sum(world.room.asked) < 20_000
    world.room.asked.clear()
    upload = world.dumps.receive(5000)
    upload.write(b"x" * 5000)
    assert world.room.asked == [5000]
    world.dumps.end(upload)


def test_an_upload_without_room_is_refused_and_leaves_nothing(world: World) -> None:
    world.room.refusal = StorageFull("no room")
    with pytest.raises(StorageFull):
        world.put(b"x")
    assert not world.files()
    with pytest.raises(StorageFull):
        world.dumps.receive(100)


@pytest.mark.parametrize("relieved", [True, False])
def test_a_full_disk_is_relieved_by_eviction(
    world: World, monkeypatch: pytest.MonkeyPatch, relieved: bool
) -> None:
    """The write goes on where it ended; when nothing can be evicted, it is refused."""
    old = world.put(b"old")
    full = True

    def evict() -> bool:
        nonlocal full
        full = False
        return all(map(world.dumps.evict, world.dumps.evictable(NOW)))

    class Partial(directory.FileIO):
        """Takes one byte, then none until there is space."""

        def write(self, data: bytes) -> int:
            if full and self.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(bytes(data)[:1] if full else data)

    monkeypatch.setattr(directory, "FileIO", Partial)
    if not relieved:
        with pytest.raises(StorageFull, match="disk"):
            world.put(b"new content")
        assert world.dumps.find() == [old]
        return
    world.room.on_relief = evict
    dump = world.put(b"new content")
    assert world.dumps.path(dump.dump_id).read_bytes() == b"new content"
    assert [each.dump_id for each in world.dumps.find()] == [dump.dump_id]


def test_space_for_the_record_is_made_by_evicting_another_dump(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put(b"old")
    keep = directory.DumpDirectory.keep
    full = [True]

    def keep_if_possible(self: directory.DumpDirectory, place: Path, dump: Dump) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        keep(self, place, dump)

    def evict() -> bool:
        full.clear()
        return all(map(world.dumps.evict, world.dumps.evictable(NOW)))

    monkeypatch.setattr(directory.DumpDirectory, "keep", keep_if_possible)
    world.room.on_relief = evict
    dump = world.put(b"new")
    assert [each.dump_id for each in world.dumps.find()] == [dump.dump_id]
