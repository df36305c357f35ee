"""The variables that show extensions the way to their data in an image."""

from pathlib import Path

import pytest
from support.elf_files import write

from sqlrs_engine.postgres.images.root_tree import RootTree
from sqlrs_engine.postgres.images.server_environment import server_environment


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    (tmp_path / "usr/lib").mkdir(parents=True)
    return RootTree(tmp_path)


def _variables(
    tree: RootTree, modules: tuple[str, ...] = (), libraries: tuple[str, ...] = ()
) -> dict[str, str]:
    found = server_environment(tree, modules, libraries)
    return {name: ":".join(str(path) for path in paths) for name, paths in found.items()}


def test_an_image_without_such_data_needs_no_variables(tree):
    assert _variables(tree, ("plpython3.so", "plperl.so", "pltcl.so")) == {}


def test_proj_and_gdal_find_their_data(tree):
    for each in ("proj", "gdal"):
        (tree.root / "usr/share" / each).mkdir(parents=True)
    assert _variables(tree) == {
        "PROJ_DATA": "/usr/share/proj",
        "PROJ_LIB": "/usr/share/proj",
        "GDAL_DATA": "/usr/share/gdal",
    }


def test_python_has_a_home_only_where_the_server_embeds_it(tree):
    write(tree.root / "usr/local/lib/python3.12/os.py", b"")
    libraries = ("libpython3.12.so.1.0",)
    assert _variables(tree, (), libraries) == {}
    assert _variables(tree, ("plpython3.so",), libraries) == {"PYTHONHOME": "/usr/local"}


def test_perl_and_tcl_find_their_libraries(tree):
    for each in ("perl/5.40", "perl/5.40.1", "tcltk/tcl8.6"):
        (tree.root / "usr/share" / each).mkdir(parents=True)
    write(tree.root / "usr/share/tcltk/tcl8.6/init.tcl", b"")
    assert _variables(tree, ("plperl.so", "pltcl.so")) == {
        "PERL5LIB": "/usr/share/perl/5.40:/usr/share/perl/5.40.1",
        "TCL_LIBRARY": "/usr/share/tcltk/tcl8.6",
    }
