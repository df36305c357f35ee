"""Where a loader finds libraries: directories in order, and the cache of glibc."""

import struct
from pathlib import Path, PurePosixPath

import pytest
from support.elf_files import elf_file, write

from sqlrs_engine.postgres.images.elf import Elf
from sqlrs_engine.postgres.images.library_cache import (
    cache,
    libraries,
    library_dirs,
    library_dirs_of_musl,
)
from sqlrs_engine.postgres.images.root_tree import RootTree

LIBC = PurePosixPath("/usr/lib/x86_64-linux-gnu/libc.so.6")


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    for each in ("usr/lib/x86_64-linux-gnu", "usr/local/lib", "opt/lib", "etc/ld.so.conf.d"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    return RootTree(tmp_path)


def _names(directories: list[PurePosixPath]) -> list[str]:
    return [str(each) for each in directories]


def test_configured_directories_come_before_the_usual_and_wishes_last(tree):
    (tree.root / "etc/ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n")
    (tree.root / "etc/ld.so.conf.d/a.conf").write_text("# comment\n/usr/local/lib # more\n/gone\n")
    found = library_dirs(tree, LIBC, ["/opt/lib", "relative", "/usr/local/lib"])
    assert _names(found) == ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib", "/opt/lib"]


def test_a_configuration_that_includes_itself_ends(tree):
    (tree.root / "etc/ld.so.conf").write_text("include ld.so.conf\n/opt/lib\n")
    assert "/opt/lib" in _names(library_dirs(tree, LIBC, []))


def test_musl_has_its_own_list(tree):
    assert _names(library_dirs_of_musl(tree, "x86_64", ["/opt/lib"])) == [
        "/usr/lib",
        "/usr/local/lib",
        "/opt/lib",
    ]
    (tree.root / "etc/ld-musl-x86_64.path").write_text("/opt/lib:/gone\n/usr/local/lib\n")
    found = library_dirs_of_musl(tree, "x86_64", [])
    assert _names(found) == ["/opt/lib", "/usr/local/lib"]


def test_the_first_library_of_a_name_counts_and_other_files_do_not(tree):
    like = Elf.read(write(tree.root / "program", elf_file(interpreter="/lib/ld.so")))
    assert like is not None
    first = write(tree.root / "usr/local/lib/libx.so.1", elf_file())
    write(tree.root / "opt/lib/libx.so.1", elf_file())
    (tree.root / "opt/lib/liby.so").symlink_to("/usr/local/lib/libx.so.1")
    write(tree.root / "opt/lib/libc.so", b"GROUP ( libc.so.6 )")
    write(tree.root / "opt/lib/libarm.so", elf_file(machine=183))
    write(tree.root / "opt/lib/README", elf_file())
    found = libraries(tree, [PurePosixPath("/usr/local/lib"), PurePosixPath("/opt/lib")], like)
    assert {name: each.path for name, each in found.items()} == {
        "libx.so.1": first,
        "liby.so": first,
    }


def test_the_cache_is_sorted_as_the_loader_searches_it():
    names = ["libb.so.9", "libb.so.10", "liba.so", "libb.so", "lib3.so"]
    content = cache({name: f"/there/{name}" for name in names}, "x86_64")
    assert content is not None
    entries = _entries(content)
    assert [name for name, _ in entries] == [
        "lib3.so",
        "libb.so.10",
        "libb.so.9",
        "libb.so",
        "liba.so",
    ]
    assert all(path == f"/there/{name}" for name, path in entries)


def test_there_is_no_cache_for_unknown_processors():
    assert cache({}, "machine 4711") is None


def _entries(content: bytes) -> list[tuple[str, str]]:
    assert content.startswith(b"glibc-ld.so.cache1.1")
    (count,) = struct.unpack_from("=I", content, 20)
    found = []
    for number in range(count):
        flags, key, value = struct.unpack_from("=iII", content, 48 + 24 * number)
        assert flags == 0x0303
        found.append((_text(content, key), _text(content, value)))
    return found


def _text(content: bytes, start: int) -> str:
    return content[start : content.index(b"\0", start)].decode()


def test_a_configuration_may_nest_files_without_end(tree):
    for number in range(1500):
        (tree.root / f"etc/{number}.conf").write_text(f"include {number + 1}.conf\n/opt/lib\n")
    (tree.root / "etc/ld.so.conf").write_text("include 0.conf\n")
    assert "/opt/lib" in _names(library_dirs(tree, LIBC, []))


def test_links_in_circles_make_no_endless_list(tree):
    for number in range(9):
        (tree.root / f"circle{number}").symlink_to(".")
    (tree.root / "etc/ld.so.conf").write_text(f"include {'/*' * 6}/x.conf\n/opt/lib\n")
    assert "/opt/lib" in _names(library_dirs(tree, LIBC, []))
