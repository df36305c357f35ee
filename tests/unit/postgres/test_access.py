"""Access of the servers' user to directories and programs, and the copies made for it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.postgres import access
from sqlrs_engine.postgres.access import accessible, can_enter
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.os_user import OsUser

FakePrograms = Callable[..., Path]
STRANGER = OsUser("stranger", 54321, 54322)


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everyone can enter, unlike pytest's own."""
    place = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def hidden(tmp_path: Path, fake_programs: FakePrograms) -> Distribution:
    """A distribution below a directory that is closed to others."""
    home = tmp_path / "closed" / "package"
    bin_dir = fake_programs(home / "bin", "17.2")
    libraries = tmp_path / "closed" / "package.libs"
    for file in (
        home / "share" / "postgresql" / "postgres.bki",
        home / "lib" / "plpgsql.so",
        home / "lib" / "libpq.a",
        home / "include" / "postgres.h",
        libraries / "libz.so",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(0o600)
    (home / "lib" / "link.so").symlink_to("plpgsql.so")
    (tmp_path / "closed").chmod(0o700)
    return Distribution(
        image_id="postgres@sha256:" + "ab" * 32,
        version="17.2",
        major=17,
        bin_dir=bin_dir,
        library_dirs=(libraries,),
    )


@pytest.mark.parametrize(
    ("mode", "owner", "group", "expected"),
    [
        (0o755, -1, -1, True),
        (0o750, -1, -1, False),
        (0o700, STRANGER.uid, -1, True),
        (0o055, STRANGER.uid, -1, False),  # the owner's bits count for the owner
        (0o750, -1, STRANGER.gid, True),
        (0o705, -1, STRANGER.gid, False),
        (0o711, -1, -1, True),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_mode_bits_decide_whether_a_user_can_enter(
    open_place: Path, mode: int, owner: int, group: int, expected: bool
) -> None:
    directory = open_place / "directory"
    directory.mkdir()
    os.chown(directory, owner, group)
    directory.chmod(mode)
    assert can_enter(directory, STRANGER) is expected
    (directory / "below").mkdir(0o755)
    assert can_enter(directory / "below", STRANGER) is expected


def test_a_link_can_be_entered_only_if_its_target_can(open_place: Path) -> None:
    closed = open_place / "closed"
    (closed / "inner").mkdir(parents=True)
    closed.chmod(0o700)
    (open_place / "link").symlink_to(closed / "inner")
    assert can_enter(open_place, STRANGER)
    assert not can_enter(open_place / "link", STRANGER)


def test_a_distribution_that_the_user_can_run_is_not_copied(
    open_place: Path, fake_programs: FakePrograms, tmp_path: Path
) -> None:
    bin_dir = fake_programs(open_place / "bin", "17.2")
    there = Distribution(image_id="postgres@sha256:0", version="17.2", major=17, bin_dir=bin_dir)
    assert accessible(there, STRANGER, tmp_path / "public") is there
    assert not (tmp_path / "public").exists()


def test_a_distribution_is_copied_again_after_its_libraries_were_mended(
    hidden: Distribution, open_place: Path
) -> None:
    copy = accessible(hidden, STRANGER, open_place)
    (copy.root / "lib" / "witness").touch()
    (hidden.root / "lib" / "libossp-uuid.so.16").touch()
    os.utime(hidden.root / "lib", (1, 1))
    assert accessible(hidden, STRANGER, open_place) == copy
    assert (copy.root / "lib" / "libossp-uuid.so.16").exists()
    assert not (copy.root / "lib" / "witness").exists()
    assert [each.name for each in open_place.iterdir()] == ["ab" * 8]
    (copy.root / "share" / "witness").touch()
    assert accessible(hidden, STRANGER, open_place) == copy
    assert (copy.root / "share" / "witness").exists()


def test_a_distribution_out_of_reach_is_copied_once_regardless_of_the_umask(
    hidden: Distribution, open_place: Path
) -> None:
    public = open_place / "var" / "postgres"
    previous = os.umask(0o077)
    try:
        copy = accessible(hidden, STRANGER, public)
    finally:
        os.umask(previous)
    home = public / ("ab" * 8)
    assert copy == replace(
        hidden, bin_dir=home / "package" / "bin", library_dirs=(home / "package.libs",)
    )
    assert can_enter(copy.bin_dir, STRANGER)
    assert (copy.bin_dir / "postgres").stat().st_mode & 0o777 == 0o755
    assert (copy.root / "lib" / "plpgsql.so").stat().st_mode & 0o777 == 0o644
    assert (copy.root / "lib" / "link.so").is_symlink()
    assert (home / "package.libs" / "libz.so").exists()
    assert not (copy.root / "include").exists()
    assert not (copy.root / "lib" / "libpq.a").exists()
    assert [each.name for each in public.iterdir()] == [home.name]
    inode = home.stat().st_ino
    assert accessible(hidden, STRANGER, public) == copy
    assert home.stat().st_ino == inode


def test_a_program_that_only_its_owner_may_run_is_copied(
    open_place: Path, hidden: Distribution
) -> None:
    home = open_place / "package"
    shutil.copytree(hidden.root, home)
    (home / "bin" / "postgres").chmod(0o700)
    private = replace(hidden, bin_dir=home / "bin", library_dirs=())
    copy = accessible(private, STRANGER, open_place / "public")
    assert copy.bin_dir != private.bin_dir
    assert (copy.bin_dir / "postgres").stat().st_mode & 0o777 == 0o755


def test_programs_that_lie_apart_from_their_files_cannot_be_copied(
    hidden: Distribution, tmp_path: Path
) -> None:
    shutil.rmtree(hidden.root / "share")
    with pytest.raises(ClusterFailed, match=r"stranger cannot reach.*set postgres\.osUser"):
        accessible(hidden, STRANGER, tmp_path / "public")


def test_an_image_of_a_registry_is_not_copied(hidden: Distribution, tmp_path: Path) -> None:
    image = replace(hidden, origin="image")
    with pytest.raises(ClusterFailed, match=r"stranger cannot reach the images: set SQLRS_IMAGE_"):
        accessible(image, STRANGER, tmp_path / "public")


def test_a_distribution_without_its_programs_is_an_error(
    hidden: Distribution, tmp_path: Path
) -> None:
    shutil.rmtree(hidden.bin_dir)
    with pytest.raises(ClusterFailed, match=r"PostgreSQL 17\.2 are missing"):
        accessible(hidden, STRANGER, tmp_path / "public")


def test_a_copy_that_the_user_cannot_run_is_an_error(hidden: Distribution, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(ClusterFailed, match="is closed to others"):
        accessible(hidden, STRANGER, tmp_path / "public")


def test_a_directory_of_another_user_in_the_public_place_is_not_used(
    hidden: Distribution, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = open_place / ("ab" * 8)
    place.mkdir()
    (place / "something").touch()
    monkeypatch.setattr(os, "geteuid", lambda: STRANGER.uid)
    with pytest.raises(ClusterFailed, match="cannot copy PostgreSQL to where the user stranger"):
        accessible(hidden, STRANGER, open_place)
    assert [each.name for each in open_place.iterdir()] == [place.name]


def test_a_copy_of_another_engine_made_at_the_same_time_is_used(
    hidden: Distribution, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = access.open_to_all

    def race(root: Path) -> None:
        original(root)
        if root.name.startswith(".copy-"):
            shutil.copytree(root, open_place / ("ab" * 8), symlinks=True)

    monkeypatch.setattr(access, "open_to_all", race)
    copy = accessible(hidden, STRANGER, open_place)
    assert (copy.bin_dir / "postgres").exists()
    assert [each.name for each in open_place.iterdir()] == ["ab" * 8]


def test_a_link_in_the_public_place_is_not_followed(
    hidden: Distribution, open_place: Path, tmp_path: Path
) -> None:
    (open_place / ("ab" * 8)).symlink_to(tmp_path)
    with pytest.raises(ClusterFailed):
        accessible(hidden, STRANGER, open_place)
    assert not (tmp_path / "package").exists()
