"""Dumps as files: their format, which their content tells, and what is wrong with them."""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Literal

from sqlrs_engine.errors import DumpUnusable, InvalidArgument
from sqlrs_engine.prepare.file_reads import FileRead, check_readable, printable
from sqlrs_engine.store.records import Json

from .archive import DAMAGED, MAGIC, Archive, Header
from .content import Content, is_compressed

Format = Literal["plain", "custom", "tar", "directory"]

_TOC = "toc.dat"
_HEAD_BYTES = 4096
_TAIL_BYTES = 64 * 1024
_TAR_MAGIC = slice(257, 262), b"ustar"
_TAR_BLOCK = 512
_ZEROS = 5  # an integer
_BEGINNINGS = (b"-- PostgreSQL database dump", b"-- PostgreSQL database cluster dump")
_ENDINGS = (
    b"-- PostgreSQL database dump complete",
    b"-- PostgreSQL database cluster dump complete",
)
_SUFFIXES = ("", ".gz", ".lz4", ".zst")

_DUMP_AGAIN = "make the dump with pg_dump"
# What else people may name, by its first bytes, with what to do.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "it is a zip file: unpack it first"),
    (b"BZh", "it is compressed by bzip2: decompress it first (bunzip2)"),
    (b"\xfd7zXZ\0", "it is compressed by xz: decompress it first (unxz)"),
    (b"\xff\xfe", "it is in UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"\xfe\xff", "it is in UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"),
    (b"SQLite format 3", f"it is a SQLite database: {_DUMP_AGAIN}"),
    (b"-- MySQL dump", f"it is a dump of MySQL: {_DUMP_AGAIN}"),
    (b"-- MariaDB dump", f"it is a dump of MariaDB: {_DUMP_AGAIN}"),
    (b"/*M!999999", f"it is a dump of MariaDB: {_DUMP_AGAIN}"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpFile:
    r"""A dump: a file, or a directory of files.

    ``files`` are those that it consists of. ``header`` is that of an archive, None for plain SQL;
    ``restricts`` is whether plain SQL begins by restricting what psql may do (``\restrict``).
    """

    path: Path
    format: Format
    files: tuple[FileRead, ...]
    header: Header | None = None
    restricts: bool = False

    @property
    def size(self) -> int:
        """The bytes of its files."""
        return sum(file.size for file in self.files)

    @contextmanager
    def archive(self) -> Iterator[Archive]:
        """Open the table of contents of an archive. Raises DumpUnusable, InvalidArgument."""
        with _reading(self.path), _toc(self.path, self.format) as file:
            yield Archive(file, is_custom=self.format == "custom")

    def check(self) -> None:
        """Read the table of contents of an archive, and look for the files with its data.

        Raises DumpUnusable when the dump is damaged, InvalidArgument when it cannot be read.
        """
        if self.format == "plain":
            return
        with self.archive() as archive:
            files = [entry.file for entry in archive.entries() if entry.file]
        if self.format == "directory":
            names = {file.path.name for file in self.files}
            for file in files:
                if not any(f"{file}{suffix}" in names for suffix in _SUFFIXES):
                    raise DumpUnusable(DAMAGED, f"{self.path} lacks the file {file}")


def inspect(path: Path) -> DumpFile:
    """Return the dump at a path; only its beginning and its end are read.

    Raises DumpUnusable when it is no dump, when it is incomplete, or of a version that no
    pg_restore known to the engine reads; InvalidArgument when it cannot be read.
    """
    # Path.is_dir raises where a directory on the way is not open, before 3.14.
    if os.path.isdir(path):  # noqa: PTH112
        return _inspect_directory(path)
    check_readable(str(path))
    with _reading(path), path.open("rb") as file:
        read = FileRead.of(file, path)
        if not read.size:  # as of files of the kernel, whose reading may never end
            raise DumpUnusable("the dump is empty: make it again", printable(str(path)))
        start = file.read(_HEAD_BYTES)
        found = _format(start)
        end = _end(file)
    if found == "plain":
        return _inspect_script(read, start, end)
    return _inspect_archive(read, found, end)


def look_to_json(dump: DumpFile) -> Json:
    """Return what is known of a dump besides its files."""
    header = None if dump.header is None else asdict(dump.header)
    return {"format": dump.format, "restricts": dump.restricts, "header": header}


def look_from_json(look: Json) -> DumpFile:
    """Return a dump without files, by what ``look_to_json`` has returned of it."""
    header = look["header"]
    if header is not None:
        header = Header(**{**header, "version": tuple(header["version"])})
    restricts: bool = look["restricts"]
    return DumpFile(
        path=Path(), format=look["format"], files=(), header=header, restricts=restricts
    )


def _inspect_script(file: FileRead, start: bytes, end: bytes) -> DumpFile:
    path, script = file.path, start
    if is_compressed(start):
        script = _decompressed_start(path)
    elif any(line in start for line in _BEGINNINGS) and not any(line in end for line in _ENDINGS):
        raise _ends_too_early(path)
    _check_script(path, script)
    restricts = b"\n\\restrict " in script
    return DumpFile(path=path, format="plain", files=(file,), restricts=restricts)


def _inspect_archive(file: FileRead, format: Format, end: bytes) -> DumpFile:
    if format == "tar" and (file.size % _TAR_BLOCK or end[-_TAR_BLOCK:].strip(b"\0")):
        raise _ends_too_early(file.path)
    dump = DumpFile(path=file.path, format=format, files=(file,))
    with dump.archive() as archive:
        header = archive.header
    # The data of the last object, or the table of contents, ends in zeros.
    if format == "custom" and end[-_ZEROS:].strip(b"\0"):
        raise _ends_too_early(file.path)
    return replace(dump, header=header)


def _inspect_directory(path: Path) -> DumpFile:
    with _reading(path):
        if not (path / _TOC).is_file():
            raise DumpUnusable(
                f"the directory is no dump: name a file, or a directory that pg_dump -Fd has made, "
                f"which has a {_TOC}",
                printable(str(path)),
            )
        files = tuple(FileRead.now(each) for each in sorted(path.iterdir()) if each.is_file())
    dump = DumpFile(path=path, format="directory", files=files)
    with dump.archive() as archive:
        return replace(dump, header=archive.header)


def _format(start: bytes) -> Format:
    """Return the format of a file that starts like this."""
    place, magic = _TAR_MAGIC
    if start.startswith(MAGIC):
        return "custom"
    if start[place] == magic:
        return "tar"
    return "plain"


def _check_script(path: Path, start: bytes) -> None:
    """Raise DumpUnusable unless a file that starts like this, when decompressed, can be SQL."""
    place, magic = _TAR_MAGIC
    reason = next((advice for first, advice in _STRANGERS if start.startswith(first)), None)
    if start.startswith(MAGIC) or start[place] == magic:
        reason = (
            "it is a compressed archive: decompress it first (gunzip, unzstd, unlz4, tar); an "
            "archive compresses its data itself"
        )
    elif reason is None and b"\0" in start:
        reason = f"its format is unknown: {_DUMP_AGAIN}"
    if reason is not None:
        raise DumpUnusable("the file is no dump that can be restored", f"{path}: {reason}")


def _decompressed_start(path: Path) -> bytes:
    with _reading(path), path.open("rb") as file:
        pieces = islice(iter(Content(file, path)), 1)
        return b"".join(piece[:_HEAD_BYTES] for piece in pieces)


def _end(file: IO[bytes]) -> bytes:
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read(_TAIL_BYTES)


def _ends_too_early(path: Path) -> DumpUnusable:
    return DumpUnusable(DAMAGED, f"{printable(str(path))} ends too early")


@contextmanager
def _toc(path: Path, format: Format) -> Iterator[IO[bytes]]:
    """Open the file, or the part of it, that begins with the table of contents."""
    if format != "tar":
        with (path / _TOC if format == "directory" else path).open("rb") as file:
            yield file
        return
    try:
        with tarfile.open(path, "r:") as tar:
            member = tar.next()
            toc = tar.extractfile(member) if member is not None and member.name == _TOC else None
            if toc is None:
                raise DumpUnusable(
                    "the tar file is no dump of pg_dump: unpack it, and name what is in it",
                    f"{path} does not begin with {_TOC}",
                )
            yield toc
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DumpUnusable(DAMAGED, f"{path}: {error}") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidArgument(
            "cannot read file", f"{printable(str(path))}: {error.strerror}"
        ) from error
