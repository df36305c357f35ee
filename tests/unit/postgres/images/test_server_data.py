"""What an image says about extensions and its scripts."""

import pytest
from support.elf_files import write
from support.fake_image_roots import add_server

from sqlrs_engine.postgres.images import server_data
from sqlrs_engine.postgres.images.root_tree import RootTree

SHARE = "usr/lib/postgresql/17/share"


@pytest.fixture
def tree(tmp_path):
    return RootTree(tmp_path)


@pytest.fixture
def data(tree):
    server = add_server(tree.root) / "postgres"
    found = server_data.find_data(tree, server)
    assert found is not None
    return found


def test_the_server_names_its_directories(data):
    assert str(data.libraries) == "/usr/lib/postgresql/17/lib"
    assert str(data.share) == "/usr/lib/postgresql/17/share"


def test_programs_that_were_moved_have_their_data_near(tree):
    server = add_server(tree.root, "/build/bin") / "postgres"
    (tree.root / "usr").mkdir()
    (tree.root / "build").rename(tree.root / "usr/local")
    found = server_data.find_data(tree, tree.root / "usr/local/bin" / server.name)
    assert found is not None
    assert tree.directory(found.share) == tree.root / "usr/local/share"


def test_a_server_without_its_data_has_none(tree):
    server = add_server(tree.root) / "postgres"
    (tree.root / SHARE / "postgres.bki").unlink()
    assert server_data.find_data(tree, server) is None


def test_extensions_are_those_with_a_control_file(tree, data):
    for name in ("vector.control", "citext.control", "citext--1.6.sql", "README"):
        write(tree.root / SHARE / "extension" / name, b"")
    assert server_data.extensions(tree, data) == ("citext", "vector")


def test_scripts_come_in_the_order_of_their_names(tree):
    names = ("b.sql", "10_a.sh", "a.sql.gz", "c.sql.xz", "d.sql.zst", "README.md", "e.sql.bak")
    for name in names:
        write(tree.root / "docker-entrypoint-initdb.d" / name, b"")
    directory = "docker-entrypoint-initdb.d"
    expected = ("10_a.sh", "a.sql.gz", "b.sql", "c.sql.xz", "d.sql.zst")
    assert server_data.initdb_scripts(tree) == tuple(f"{directory}/{each}" for each in expected)


def test_there_may_be_no_scripts(tree):
    assert server_data.initdb_scripts(tree) == ()
