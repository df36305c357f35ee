"""``store create``: sizes, what is refused before anything is changed, the line of fstab."""

import os
from pathlib import Path

import pytest

from sqlrs_engine import cli
from sqlrs_engine.commands import store
from sqlrs_engine.daemon.store_lock import StoreLock
from sqlrs_engine.errors import Conflict, EngineError, InvalidArgument

GIB = 2**30
XFS = store.KINDS["xfs"]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH with all the programs, none of which works."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in ("mkfs.xfs", "mkfs.btrfs", "mount"):
        (directory / name).touch(mode=0o755)
    return str(directory)


def check(place: Path, programs: str, size: int = GIB) -> None:
    store.check(XFS, size, place, place.with_name("store.img"), search_path=programs)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1073741824", GIB),
        ("1G", GIB),
        ("1g", GIB),
        ("1GiB", GIB),
        ("1GB", GIB),
        ("0.5T", 512 * GIB),
        ("300M", 300 * 2**20),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert store.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "1 G", "1E", "20GG", "1.G", "\u0663G"])
def test_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="such as 20G"):
        store.parse_size(text)


def test_a_new_place_and_an_empty_directory_are_fine(tmp_path: Path, programs: str) -> None:
    check(tmp_path / "store", programs)
    (tmp_path / "store").mkdir()
    check(tmp_path / "store", programs)
    assert list((tmp_path / "store").iterdir()) == []


def test_too_small(tmp_path: Path, programs: str) -> None:
    with pytest.raises(InvalidArgument, match=r"xfs needs at least 300\.0 MiB"):
        check(tmp_path / "store", programs, XFS.least - 1)
    check(tmp_path / "store", programs, XFS.least)


def test_not_root(tmp_path: Path, programs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineError, match="sudo"):
        check(tmp_path / "store", programs)


def test_a_missing_program_names_its_package(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"mkfs\.xfs.*xfsprogs"):
        check(tmp_path / "store", str(tmp_path))


def test_a_store_with_something_in_it(tmp_path: Path, programs: str) -> None:
    (tmp_path / "store" / "engines").mkdir(parents=True)
    with pytest.raises(Conflict, match="not empty"):
        check(tmp_path / "store", programs)


def test_an_engine_at_work(tmp_path: Path, programs: str) -> None:
    (tmp_path / "store").mkdir()
    lock = StoreLock(tmp_path / "store" / "engine.lock")
    lock.acquire()
    with pytest.raises(Conflict, match=f"pid {os.getpid()}"):
        check(tmp_path / "store", programs)
    lock.release()


def test_an_image_and_a_file_in_the_way(tmp_path: Path, programs: str) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(Conflict, match="not a directory"):
        check(tmp_path / "store", programs)
    (tmp_path / "store.img").touch()
    with pytest.raises(Conflict, match=r"image file exists already.*mount -o"):
        check(tmp_path / "store", programs)


def test_a_store_that_is_a_mount_point_is_refused(programs: str) -> None:
    with pytest.raises(Conflict, match="mount point"):
        store.check(XFS, GIB, Path("/proc"), Path("/proc.img"), search_path=programs)


def test_a_program_that_fails_leaves_nothing(
    tmp_path: Path, programs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = Path(programs) / "mkfs.xfs"
    failing.write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    place = tmp_path / "new" / "store"
    with pytest.raises(EngineError, match="no such luck"):
        store.create(XFS, GIB, place, place.with_name("store.img"))
    assert [each.name for each in tmp_path.iterdir()] == ["bin"]


def test_the_line_of_fstab() -> None:
    line = store.fstab_line(XFS, Path("/srv/my store"), Path("/srv/my store.img"))
    assert line == r"/srv/my\040store.img /srv/my\040store xfs loop,noatime,nofail 0 0"


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["store"], {}) == 2
    assert cli.main(["store", "create"], {}) == 2
    assert cli.main(["store", "create", "--size", "1G", "--fs", "ext4"], {}) == 2
    assert cli.main(["store", "create", "--size", "lots"], {}) == 2
    capsys.readouterr()
    assert cli.main(["store", "create", "--help"], {}) == 0
    text = capsys.readouterr().out
    for word in ("--size", "--fs", "--path", "sudo sqlrs-engine store create --size 20G"):
        assert word in text
