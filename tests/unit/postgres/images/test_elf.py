"""ELF files: what is read of them, and what is changed in place."""

from pathlib import Path

from support.elf_files import GLIBC_LOADER, elf_file, write

from sqlrs_engine.postgres.images.elf import Elf


def _read(path: Path, content: bytes) -> Elf:
    found = Elf.read(write(path, content))
    assert found is not None
    return found


def test_a_program_names_its_machine_loader_and_search_path(tmp_path):
    elf = _read(tmp_path / "p", elf_file(interpreter=GLIBC_LOADER, runpath="$ORIGIN/../lib:/opt"))
    assert (elf.machine, elf.bits, elf.interpreter) == ("x86_64", 64, GLIBC_LOADER)
    assert elf.search_path == ("$ORIGIN/../lib", "/opt")


def test_a_library_names_no_loader_and_may_have_no_search_path(tmp_path):
    elf = _read(tmp_path / "l.so", elf_file())
    assert (elf.interpreter, elf.search_path) == (None, ())


def test_a_file_that_is_no_elf_file_is_none(tmp_path):
    for content in (b"", b"\x7fEL", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(60)):
        assert Elf.read(write(tmp_path / "f", content)) is None


def test_a_file_that_was_cut_off_is_none(tmp_path):
    whole = elf_file(interpreter=GLIBC_LOADER, runpath="/opt/lib")
    for length in range(0, len(whole) - 40, 8):
        assert Elf.read(write(tmp_path / "f", whole[:length])) is None


def test_the_loader_is_replaced_in_place(tmp_path):
    before = elf_file(interpreter=GLIBC_LOADER)
    content = bytearray(before)
    assert _read(tmp_path / "before", before).with_interpreter(content, "/proc/self/fd/9/b/ld")
    assert len(content) == len(before)
    assert _read(tmp_path / "after", bytes(content)).interpreter == "/proc/self/fd/9/b/ld"


def test_a_loader_with_too_long_a_name_is_refused(tmp_path):
    before = elf_file(interpreter="/lib/ld.so")
    content = bytearray(before)
    assert not _read(tmp_path / "f", before).with_interpreter(content, "/proc/self/fd/9/b/ld")
    assert content == before


def test_rpath_and_runpath_are_removed_in_place(tmp_path):
    for tag in (15, 29):
        before = elf_file(runpath="/usr/local/lib", tag=tag)
        content = bytearray(before)
        _read(tmp_path / "before", before).without_search_path(content)
        assert len(content) == len(before)
        assert _read(tmp_path / "after", bytes(content)).search_path == ()


def test_a_file_that_misleads_is_none(tmp_path):
    content = bytearray(elf_file(interpreter=GLIBC_LOADER, runpath="/opt/lib"))
    segments = content[:32] + b"\xff" * 8 + content[40:]
    size = content.find((len(GLIBC_LOADER) + 1).to_bytes(8, "little"))
    loader = content[:size] + (2**40).to_bytes(8, "little") + content[size + 8 :]
    many = content[:56] + b"\xff\xff" + content[58:]
    for each in (segments, loader, many):
        assert Elf.read(write(tmp_path / "f", bytes(each))) is None
