"""The locales that an image's C library has, and the one that the image sets."""

import os
import struct
from pathlib import Path

import pytest
from support.elf_files import write

from sqlrs_engine.postgres.images.locales import image_locale, locales
from sqlrs_engine.postgres.images.root_tree import RootTree


def _archive(*names: str) -> bytes:
    """Return the beginning of a locale archive: a header, a hash table, the names."""
    slots = [*names, None]
    text = b""
    table = b""
    start = 20 + 12 * len(slots)
    for name in slots:
        table += struct.pack("=III", *((7, start + len(text), 1) if name else (0, 0, 0)))
        text += name.encode() + b"\0" if name else b""
    return struct.pack("=IIIII", 0xDE020109, 1, 20, len(names), len(slots)) + table + text


@pytest.fixture
def tree(tmp_path: Path) -> RootTree:
    write(tmp_path / "usr/lib/locale/locale-archive", _archive("en_US.utf8", "de_DE.utf8"))
    (tmp_path / "usr/lib/locale/C.utf8").mkdir()
    return RootTree(tmp_path)


def test_locales_are_in_the_archive_and_in_directories(tree):
    assert locales(tree) == ["C.utf8", "de_DE.utf8", "en_US.utf8"]


@pytest.mark.parametrize("content", [b"", b"short", bytes(100), _archive("a")[:30]])
def test_a_damaged_archive_has_none(tree, content):
    (tree.root / "usr/lib/locale/locale-archive").write_bytes(content)
    assert locales(tree) == ["C.utf8"]


@pytest.mark.parametrize("name", ["en_US.utf8", "en_US.UTF-8", "C.UTF-8"])
def test_the_image_has_the_locale_that_it_sets_in_any_spelling(tree, name):
    assert image_locale(tree, {"LANG": name}, musl=False) == name


def test_the_locale_for_everything_counts_first(tree):
    variables = {"LANG": "en_US.utf8", "LC_ALL": "de_DE.utf8"}
    assert image_locale(tree, variables, musl=False) == "de_DE.utf8"


def test_a_locale_that_the_c_library_lacks_is_none(tree):
    assert image_locale(tree, {"LANG": "fr_FR.utf8"}, musl=False) is None
    assert image_locale(tree, {"LANG": "fr_FR.utf8"}, musl=True) == "fr_FR.utf8"


def test_the_c_locale_is_none(tree):
    for variables in ({}, {"LANG": "C"}, {"LANG": "POSIX"}):
        assert image_locale(tree, variables, musl=False) is None


def test_an_archive_without_end_is_read_up_to_a_limit(tree):
    archive = tree.root / "usr/lib/locale/locale-archive"
    with archive.open("r+b") as file:
        file.seek(16)
        file.write((2**32 - 1).to_bytes(4, "little"))
    os.truncate(archive, 400_000_000)
    assert "C.utf8" in locales(tree)
