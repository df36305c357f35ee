"""Paths in a root file system that is a directory."""

import os
import re
from pathlib import Path, PurePosixPath

import pytest
from support.elf_files import write

from sqlrs_engine.errors import ImageUnusable
from sqlrs_engine.postgres.images.root_tree import RootTree, read, replace


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    root = tmp_path / "root"
    write(root / "usr/lib/a.so", b"a")
    (root / "lib").symlink_to("usr/lib")
    (root / "etc").mkdir()
    write(tmp_path / "outside", b"secret")
    return RootTree(root)


def test_links_are_followed_inside_the_tree(tree):
    (tree.root / "etc/absolute").symlink_to("/lib/a.so")
    (tree.root / "etc/relative").symlink_to("../lib/./a.so")
    for path in ("/usr/lib/a.so", "/lib/a.so", "/etc/absolute", "etc/relative", "/etc/../lib/a.so"):
        assert tree.file(path) == tree.root / "usr/lib/a.so"


@pytest.mark.parametrize("target", ["../../outside", "../../../../outside", "/../outside"])
def test_no_link_leads_outside(tree, target):
    (tree.root / "etc/link").symlink_to(target)
    assert tree.resolve("/etc/link") is None
    assert tree.resolve("/../outside") is None


def test_links_in_a_circle_lead_nowhere(tree):
    (tree.root / "etc/a").symlink_to("b")
    (tree.root / "etc/b").symlink_to("a")
    assert tree.resolve("/etc/a") is None


def test_a_file_is_no_directory_and_the_other_way_round(tree):
    assert tree.directory("/lib/a.so") is None
    assert tree.file("/lib") is None
    assert tree.directory("/lib") == tree.root / "usr/lib"


def test_files_come_sorted_with_links_resolved(tree):
    for link, to in {"Z.so": "a.so", "broken.so": "missing", "b.so": "/lib/a.so"}.items():
        (tree.root / "usr/lib" / link).symlink_to(to)
    (tree.root / "usr/lib/directory.so").mkdir()
    write(tree.root / "usr/lib/a.so.bak", b"")
    target = tree.root / "usr/lib/a.so"
    libraries = re.compile(r".*\.so")
    assert list(tree.files("/lib", libraries)) == [
        ("Z.so", target),
        ("a.so", target),
        ("b.so", target),
    ]
    assert list(tree.files("/missing", libraries)) == []


def test_glob_matches_inside_links(tree):
    write(tree.root / "usr/lib/postgresql/17/bin/postgres", b"")
    assert tree.glob("/lib/postgresql/*/bin") == [PurePosixPath("/lib/postgresql/17/bin")]
    assert tree.glob("/lib/*.conf") == []


def test_a_replaced_file_leaves_its_other_names_alone(tree):
    file = tree.root / "usr/lib/a.so"
    file.chmod(0o751)
    (tree.root / "shared").hardlink_to(file)
    replace(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o751
    assert (tree.root / "shared").read_bytes() == b"a"


def test_names_that_cannot_be_shown_are_left_out(tree):
    for name in (b"a\n.x", b"a\x1b[2J.x", b"a\xff.x", "\u00e9 \u4e16.x".encode()):
        (tree.root / os.fsdecode(name)).touch()
    names = [name for name, _ in tree.files("/", re.compile(r"[\s\S]*\.x"))]
    assert names == ["\u00e9 \u4e16.x"]


def test_a_file_of_any_size_is_not_read(tree):
    bomb = tree.root / "bomb"
    bomb.touch()
    os.truncate(bomb, 2**40)
    with pytest.raises(ImageUnusable, match="too large: use another image") as failure:
        read(bomb)
    assert "bomb" in str(failure.value.details)
