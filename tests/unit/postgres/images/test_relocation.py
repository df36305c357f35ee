"""Images whose PostgreSQL cannot run here, and what is changed in those whose can."""

import os
from pathlib import Path

import pytest
from support.elf_files import GLIBC_LOADER, elf_file, write
from support.fake_image_roots import HERE, add_loader, add_server, inside
from support.image_roots import image_config

from sqlrs_engine.errors import ImageUnusable
from sqlrs_engine.postgres.images import relocation
from sqlrs_engine.postgres.images.relocation import make_runnable
from sqlrs_engine.postgres.os_user import OsUser


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root file system that has everything, and programs that do not run."""
    root = tmp_path / "root"
    add_server(root)
    add_loader(root)
    return root


@pytest.fixture
def untried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not try whether the programs run: those of these tests do not."""
    monkeypatch.setattr(relocation, "_try", lambda *arguments: None)


def _reason(root: Path, **environment: str) -> str:
    with pytest.raises(ImageUnusable) as caught:
        make_runnable(root, image_config(**environment))
    return str(caught.value)


def test_an_image_for_another_processor_is_unusable(tmp_path):
    add_server(tmp_path, machine=40)
    assert "the image is for arm and this machine is" in _reason(tmp_path)


def test_an_image_without_its_loader_is_unusable(tmp_path):
    add_server(tmp_path)
    assert "the image has no loader for its own programs" in _reason(tmp_path)


def test_an_image_with_an_unknown_c_library_is_unusable(root):
    write(inside(root, GLIBC_LOADER), elf_file(machine=HERE))
    assert "the C library of the image is not known" in _reason(root)


def test_an_image_whose_postgresql_is_not_complete_is_unusable(root):
    (root / "usr/lib/postgresql/17/share/postgres.bki").unlink()
    assert "the PostgreSQL of the image is not complete" in _reason(root)


def test_an_image_with_files_in_the_way_is_unusable(root):
    (root / ".sqlrs").symlink_to("/tmp")
    assert "the image has a file /.sqlrs of its own" in _reason(root)


def test_an_image_whose_programs_do_not_run_is_unusable(root):
    assert "the program postgres of the image does not run on this machine" in _reason(root)


def test_shared_files_are_replaced_and_never_written_to(root, tmp_path, untried):
    server = root / "usr/lib/postgresql/17/bin/postgres"
    library = write(root / "usr/lib/libx.so.1", elf_file(runpath="/opt/lib", machine=HERE))
    kept = []
    for number, path in enumerate((server, library, root / "lib64/libc.so.6")):
        (root / "usr/lib/locale").mkdir(exist_ok=True)
        copy = tmp_path / str(number)
        copy.hardlink_to(path)
        kept.append((path, copy, copy.read_bytes()))
    make_runnable(root, image_config())
    for path, copy, before in kept:
        assert copy.read_bytes() == before
        assert path.read_bytes() != before
        assert len(path.read_bytes()) == len(before)


def test_what_an_image_says_is_returned(root, untried):
    write(root / "usr/lib/postgresql/17/share/extension/vector.control", b"")
    write(root / "docker-entrypoint-initdb.d/10.sql", b"")
    (root / "usr/lib/locale/en_US.utf8").mkdir(parents=True)
    found = make_runnable(root, image_config(LANG="en_US.utf8"))
    assert (found.version, found.major, found.extensions) == ("17.2", 17, ("vector",))
    assert found.initdb_scripts == ("docker-entrypoint-initdb.d/10.sql",)
    assert found.locale == "en_US.utf8"
    programs = root / found.bin_dir
    assert sorted(each.name for each in programs.iterdir()) == ["initdb", "postgres", "psql"]
    assert all(os.access(each, os.X_OK) for each in programs.iterdir())


def test_odd_names_of_locales_are_in_no_way(root, untried):
    for name in (b"r", b"z", b"b", b"gconv", b"\xff", b"en_US.utf8"):
        (root / "usr/lib/locale" / os.fsdecode(name)).mkdir(parents=True)
    make_runnable(root, image_config())
    assert (root / ".sqlrs/links/r").samefile(root)
    assert (root / ".sqlrs/links/en_US.utf8").samefile(root / "usr/lib/locale/en_US.utf8")


def test_all_users_may_read_what_is_added_whatever_the_umask(root, untried):
    before = os.umask(0o077)
    try:
        make_runnable(root, image_config())
    finally:
        os.umask(before)
    added = [root / ".sqlrs", *(root / ".sqlrs").rglob("*")]
    modes = {path.stat().st_mode & 0o777 for path in added if not path.is_symlink()}
    assert modes == {0o755, 0o644}


def test_links_lead_into_the_tree_wherever_it_is(root, untried):
    (root / "usr/share/zoneinfo").mkdir(parents=True)
    make_runnable(root, image_config())
    moved = root.rename(root.with_name("moved"))
    links = moved / ".sqlrs/links"
    assert (links / "z").samefile(moved / "usr/share/zoneinfo")
    assert (links / "r").samefile(moved)


def test_programs_are_tried_as_the_servers_user(root, monkeypatch):
    seen = []

    def run(command: object, **options: object) -> None:
        seen.append((options["user"], options["group"], options["extra_groups"]))
        raise PermissionError("not allowed")

    monkeypatch.setattr(relocation.subprocess, "run", run)
    with pytest.raises(ImageUnusable, match="does not run") as caught:
        make_runnable(root, image_config(), os_user=OsUser("someone", 4711, 4712))
    assert seen == [(4711, 4712, [])]
    assert "noexec" in str(caught.value)


def test_a_machine_without_a_shell_is_told_so(root, monkeypatch):
    def run(command: object, **options: object) -> None:
        raise FileNotFoundError("no /bin/sh")

    monkeypatch.setattr(relocation.subprocess, "run", run)
    assert "install a shell" in _reason(root)
