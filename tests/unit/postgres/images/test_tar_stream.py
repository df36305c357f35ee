"""Tar archives as a stream, held against the standard library's reader and GNU tar."""

import contextlib
import io
import random
import subprocess
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrs_engine.postgres.images.tar_stream import DamagedArchiveError, Member, TarStream

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
TYPES = [
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
]


def chunks(content: bytes, size: int = 1000) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def archive(*members: tuple[str, dict[str, Any], bytes], format: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, fields, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def read(content: bytes, size: int = 1000) -> list[tuple[Member, bytes]]:
    stream = TarStream(chunks(content, size))
    found = []
    for member in stream:
        buffer = bytearray(member.size)

        def write(place: int, piece: memoryview, buffer: bytearray = buffer) -> None:
            buffer[place : place + len(piece)] = piece

        if member.kind == "file":
            stream.read(member, write)
        found.append((member, bytes(buffer)))
    return found


def expected(content: bytes) -> list[tuple[str, int, str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return [
            (
                member.name,
                member.mode,
                member.linkname,
                tar.extractfile(member).read() if member.isreg() else b"",  # type: ignore[union-attr]
            )
            for member in tar
        ]


def found(content: bytes, size: int = 1000) -> list[tuple[str, int, str, bytes]]:
    return [
        (member.name.rstrip("/"), member.mode, member.link, data)
        for member, data in read(content, size)
    ]


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=["Cs"]),
    min_size=1,
    max_size=60,
).filter(lambda name: name.strip("/. ") != "")
PATHS = st.lists(NAMES, min_size=1, max_size=6).map("/".join)
MEMBERS = st.lists(
    st.tuples(
        PATHS,
        st.fixed_dictionaries(
            {"type": st.sampled_from(TYPES), "mode": st.integers(0, 0o7777), "linkname": PATHS}
        ),
        st.binary(max_size=2000),
    ),
    max_size=6,
)


@settings(max_examples=50)
@given(MEMBERS, st.sampled_from(FORMATS[1:]), st.integers(1, 3000))
def test_what_the_standard_library_writes_is_read(
    members: list[tuple[str, dict[str, Any], bytes]], format: int, size: int
) -> None:
    plain = []
    for name, fields, content in members:
        is_link = fields["type"] in (tarfile.SYMTYPE, tarfile.LNKTYPE)
        target = fields["linkname"] if is_link else ""
        is_file = fields["type"] == tarfile.REGTYPE
        plain.append((name, {**fields, "linkname": target}, content if is_file else b""))
    made = archive(*plain, format=format)
    assert found(made, size) == expected(made)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("length", [1, 99, 100, 101, 155, 190])
def test_long_names(format: int, length: int) -> None:
    name = ("d" * 40 + "/") * (length // 41) + "n" * (length % 41)
    target = "t" * 90
    link = ("link", {"type": tarfile.SYMTYPE, "linkname": target}, b"")
    content = archive((name, {}, b"x"), link, format=format)
    assert found(content) == [(name, 0o644, "", b"x"), ("link", 0o644, target, b"")]


def test_kinds() -> None:
    members = [(f"m{number}", {"type": kind}, b"") for number, kind in enumerate(TYPES)]
    kinds = [member.kind for member, _ in read(archive(*members, format=tarfile.GNU_FORMAT))]
    assert kinds == ["file", "directory", "symlink", "hardlink", "special", "special"]


def test_times_and_large_numbers() -> None:
    content = archive(("a", {"mtime": 1234567890.5}, b""))
    assert read(content)[0][0].mtime == 1234567890.5
    content = archive(("a", {"mtime": 2**40, "uid": 2**40}, b"x"), format=tarfile.GNU_FORMAT)
    assert read(content)[0][0].mtime == 2**40


def test_members_whose_content_is_not_read_are_skipped() -> None:
    content = archive(("a", {}, b"x" * 5000), ("b", {}, b"y" * 512), ("c", {}, b""))
    assert [member.name for member in TarStream(chunks(content))] == ["a", "b", "c"]


def test_global_headers_hold_for_all_members() -> None:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"mtime": "42"}
    ) as tar:
        tar.addfile(tarfile.TarInfo("a"))
    assert read(file.getvalue())[0][0].mtime == 42


def test_the_rest_of_the_stream_is_read() -> None:
    rest = iter([archive(("a", {}, b"")), b"\0" * 9000, b"anything"])
    assert len([*TarStream(rest)]) == 1
    assert next(rest, None) is None


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=posix", "--sparse-version=0.0"],
        ["--format=posix", "--sparse-version=0.1"],
        ["--format=posix", "--sparse-version=1.0"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("pieces", [1, 3, 30])
def test_sparse_files(tmp_path: Path, options: list[str], pieces: int) -> None:
    contents = random.Random(pieces)
    with (tmp_path / "sparse").open("wb") as file:
        for piece in range(pieces):
            file.seek(piece * 200_000)
            file.write(contents.randbytes(10_000))
        file.truncate(pieces * 200_000 + 1_000_000)
    (tmp_path / "after").write_bytes(b"after")
    command = ["tar", "--sparse", *options, "-C", tmp_path, "-cf", "-", "sparse", "after"]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    assert len(made) < 200_000 * pieces
    members = read(made, 4096)
    assert [member.name for member, _ in members] == ["sparse", "after"]
    assert members[0][1] == (tmp_path / "sparse").read_bytes()
    assert members[1][1] == b"after"


def test_an_archive_that_ends_early_is_damaged() -> None:
    content = archive(("a" * 200, {}, b"x" * 1000), ("b", {}, b"y"))
    for end in range(1, 3000, 97):
        if end % 512:
            with pytest.raises(DamagedArchiveError, match="ends too early"):
                read(content[:end])


@given(st.integers(0, 4095), st.integers(1, 255))
def test_a_changed_byte_never_fails_in_another_way(place: int, change: int) -> None:
    content = bytearray(archive(("a" * 150, {}, b"x" * 1000), ("b", {}, b"y")))
    content[place % len(content)] ^= change
    with contextlib.suppress(ValueError):
        read(bytes(content))


@pytest.mark.parametrize(
    "records",
    [
        b"",
        b"x",
        b"999 path=a\n",
        b"11 path=ab",
        b"-1 path=a\n",
        b"0 a=\n",
        b"12 path=a\0b\n",
        b"9 size=x\n",
        b"99999999999999 a=b\n",
    ],
)
def test_damaged_extended_headers(records: bytes) -> None:
    header = tarfile.TarInfo("h")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    content = header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)
    content += archive(("a", {}, b""))
    if not records:
        assert found(content) == [("a", 0o644, "", b"")]
        return
    with pytest.raises(DamagedArchiveError, match="extended header"):
        read(content)


def test_an_endless_header_is_refused() -> None:
    header = tarfile.TarInfo("h")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2**33
    content = header.tobuf(tarfile.GNU_FORMAT) + bytes(5000)
    with pytest.raises(DamagedArchiveError, match="an extended header has 8589934592 bytes"):
        read(content)


def test_unknown_headers_take_no_memory() -> None:
    def headers() -> Iterator[bytes]:
        for number in range(60):
            file = io.BytesIO()
            fields = {f"comment{number}": "x" * 900_000}
            with tarfile.open(
                fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers=fields
            ):
                yield file.getvalue()  # before the end of the archive is written
        yield archive(("a", {}, b""))

    tracemalloc.start()
    try:
        names = [member.name for member in TarStream(headers())]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (names, peak < 30_000_000) == (["a"], True)


def test_an_absurd_size_is_refused() -> None:
    header = tarfile.TarInfo("a")
    header.size = 2**60
    with pytest.raises(DamagedArchiveError, match="a member has"):
        read(header.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.parametrize(
    "sparse",
    ["5,-1", "5", "0,9999", "10,5,0,5", "x,1", "0,1,0,1", "91,10", f"{2**65},10"],
    ids=repr,
)
def test_a_sparse_map_that_does_not_fit_is_refused(sparse: str) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.size = 10
        info.pax_headers = {"GNU.sparse.map": sparse, "GNU.sparse.size": "100"}
        tar.addfile(info, io.BytesIO(b"0123456789"))
    with pytest.raises(ValueError, match=r"sparse|extended"):
        read(file.getvalue())
