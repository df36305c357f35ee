import gzip
import os
import tarfile
from pathlib import Path

import lz4.frame
import pytest
from support.dump_archives import Item, table_of_contents, write_archive

from sqlrs_engine.errors import DumpUnusable, InvalidArgument
from sqlrs_engine.prepare.dump.files import inspect

try:
    from backports.zstd import compress as zstd
except ImportError:
    from compression.zstd import compress as zstd

HEAD = "--\n-- PostgreSQL database dump\n--\n\n"
END = "--\n-- PostgreSQL database dump complete\n--\n\n"
SCRIPT = f"{HEAD}\\restrict x1\n\nCREATE TABLE t (id int);\n{END}\\unrestrict x1\n"


@pytest.mark.parametrize("format", ["custom", "tar", "directory"])
@pytest.mark.parametrize("version", [(1, 14), (1, 15), (1, 16)])
def test_archives_are_known_by_their_content(tmp_path, format, version):
    path = write_archive(tmp_path / "any.name", format, version=version, made_by="16.4 (Debian)")
    dump = inspect(path)
    assert dump.format == format
    assert dump.header.version == version
    assert dump.header.made_by == "16.4"
    assert dump.header.compression == "gzip"
    dump.check()


@pytest.mark.parametrize(
    ("version", "major"), [((1, 12), 12), ((1, 14), 12), ((1, 15), 16), ((1, 16), 17)]
)
def test_the_oldest_pg_restore_follows_from_the_version(tmp_path, version, major):
    assert inspect(write_archive(tmp_path / "d", "custom", version=version)).header.reader == major


@pytest.mark.parametrize(
    ("number", "compression"), [(0, "none"), (1, "gzip"), (2, "lz4"), (3, "zstd")]
)
def test_the_compression_of_an_archive_is_read(tmp_path, number, compression):
    path = write_archive(tmp_path / "d", "custom", compression=number)
    assert inspect(path).header.compression == compression


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, zstd, lz4.frame.compress], ids=lambda each: each.__name__
)
def test_plain_dumps_may_be_compressed(tmp_path, compress):
    path = tmp_path / "dump"
    path.write_bytes(compress(SCRIPT.encode()))
    dump = inspect(path)
    assert dump.format == "plain"
    assert dump.restricts


def test_a_script_without_the_lines_of_pg_dump_is_plain(tmp_path):
    path = tmp_path / "structure.sql"
    path.write_text("SET statement_timeout = 0;\nCREATE TABLE t (id int);\n")
    assert inspect(path).format == "plain"
    assert not inspect(path).restricts


def test_statements_after_the_end_of_a_dump_are_no_damage(tmp_path):
    path = tmp_path / "more.sql"
    path.write_text(f"{SCRIPT}INSERT INTO t VALUES (1);\n")
    assert inspect(path).format == "plain"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04zip", "unpack it first"),
        (b"BZh91AY", "bunzip2"),
        (b"\xfd7zXZ\0\0", "unxz"),
        (b"\xff\xfeS\0E\0", "iconv"),
        (b"SQLite format 3\0", "SQLite"),
        (b"-- MySQL dump 10.13", "MySQL"),
        (b"-- MariaDB dump 10.19", "MariaDB"),
        (b"\x7fELF\0\0\0", "its format is unknown"),
        (gzip.compress(table_of_contents()), "compressed archive"),
        (SCRIPT[: len(HEAD) + 20].encode(), "ends too early"),
        (table_of_contents([Item()])[:-7], "ends too early"),
        (table_of_contents()[:30], "ends too early"),
        (b"PGDMP", "ends too early"),
        (table_of_contents(version=(1, 17)), "archive version 1.17"),
        (table_of_contents(version=(1, 9)), "archive version 1.9"),
        (gzip.compress(SCRIPT.encode() * 9000)[:40], "ends too early"),
        (b"\x28\xb5\x2f\xfd" + b"nonsense", "cannot be decompressed"),
    ],
    # gzip writes the time, and all processes of a run have to agree on the names of tests.
    ids=lambda value: "content" if isinstance(value, bytes) else value,
)
def test_what_is_no_whole_dump_is_refused(tmp_path, content, reason):
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(DumpUnusable, match=reason):
        inspect(path)


def test_a_tar_of_something_else_is_refused(tmp_path):
    path = tmp_path / "d.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo("dump.sql"))
    with pytest.raises(DumpUnusable, match=r"does not begin with toc\.dat"):
        inspect(path)


def test_a_cut_tar_is_refused(tmp_path):
    path = write_archive(tmp_path / "d.tar", "tar")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DumpUnusable, match="ends too early"):
        inspect(path)


def test_a_directory_without_a_table_of_contents_is_refused(tmp_path):
    with pytest.raises(DumpUnusable, match=r"toc\.dat"):
        inspect(tmp_path)


def test_a_directory_that_lacks_data_is_refused_by_the_check(tmp_path):
    path = write_archive(tmp_path / "d", "directory", [Item(file="7.dat"), Item(file="8.dat")])
    (path / "7.dat.gz").write_bytes(b"")
    with pytest.raises(DumpUnusable, match=r"lacks the file 8\.dat"):
        inspect(path).check()
    (path / "8.dat").write_bytes(b"")
    inspect(path).check()


def test_a_cut_table_of_contents_is_refused_by_the_check(tmp_path):
    path = write_archive(tmp_path / "d", "directory", [Item()])
    (path / "toc.dat").write_bytes((path / "toc.dat").read_bytes()[:-20])
    with pytest.raises(DumpUnusable, match="ends too early"):
        inspect(path).check()


def test_a_missing_dump_and_a_pipe_cannot_be_read(tmp_path):
    with pytest.raises(InvalidArgument, match="cannot read file"):
        inspect(tmp_path / "missing")
    with pytest.raises(InvalidArgument, match="not a regular file"):
        inspect(_pipe(tmp_path / "pipe"))


def test_a_name_that_no_file_can_have_cannot_be_read(tmp_path):
    for name in ("\ud800", "x" * 5000, "a\0b"):
        with pytest.raises(InvalidArgument, match="cannot read file"):
            inspect(tmp_path / name)


def test_a_tar_with_a_link_for_its_table_of_contents_is_refused(tmp_path):
    path = tmp_path / "d.tar"
    member = tarfile.TarInfo("toc.dat")
    member.type, member.linkname = tarfile.SYMTYPE, "elsewhere"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(member)
    with pytest.raises(DumpUnusable):
        inspect(path)


def _pipe(path):
    os.mkfifo(path)
    return path


def test_the_objects_of_an_archive_are_read(tmp_path):
    item = Item(number=12, name="f()", kind="FUNCTION", owner="app", definition="CREATE …;\n")
    for each in ("custom", "tar", "directory"):
        path = write_archive(tmp_path / each, each, [item, Item(name="é")], integer_bytes=8)
        with inspect(path).archive() as archive:
            first, second = archive.entries()
        assert (first.number, first.name, first.kind, first.owner) == (12, "f()", "FUNCTION", "app")
        assert first.definition == "CREATE …;\n"
        assert second.name == "é"


def test_files_of_the_kernel_are_no_dumps():
    with pytest.raises(DumpUnusable, match="is empty"):
        inspect(Path("/proc/self/status"))
