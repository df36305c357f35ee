"""The archives of pg_dump: their header, and their table of contents.

Source: ``ReadHead`` and ``ReadToc`` of PostgreSQL's ``pg_backup_archiver.c``. The custom format
begins with this table; the tar and directory formats have it as ``toc.dat``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sqlrs_engine.errors import DumpUnusable

MAGIC = b"PGDMP"
DAMAGED = "the dump is damaged or incomplete: copy it again, or make a new one"

Version = tuple[int, int]

# The versions of the format by the major version of the first pg_restore that reads them.
_READERS: tuple[tuple[Version, int], ...] = (((1, 14), 12), ((1, 15), 16), ((1, 16), 17))
_OLDEST: Version = (1, 10)
_COMPRESSIONS = {0: "none", 1: "gzip", 2: "lz4", 3: "zstd"}
_NO_COMPRESSION = "none"
_LONGEST = 1 << 30  # PostgreSQL's limit for a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The head of an archive.

    ``compression`` is that of its data: none, gzip, lz4 or zstd. ``made_by`` is the version of the
    pg_dump, such as ``17.2``.
    """

    version: Version
    integer_bytes: int
    offset_bytes: int
    compression: str
    database: str
    made_by: str

    @property
    def reader(self) -> int:
        """The major version of the oldest pg_restore that reads the archive."""
        return next(major for version, major in _READERS if self.version <= version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An object of an archive.

    ``definition`` is the SQL that makes it, ``file`` the name of its data's file in the tar and
    directory formats.
    """

    number: int
    kind: str
    name: str
    schema: str
    owner: str
    definition: str
    file: str


class Archive:
    """The table of contents of an archive, read from the beginning of a file."""

    def __init__(self, file: IO[bytes], *, is_custom: bool) -> None:
        """Read the header. Raises DumpUnusable, OSError."""
        self._file = file
        self._is_custom = is_custom
        self.header = self._read_header()

    def entries(self) -> Iterator[Entry]:
        """Yield the objects; once. Raises DumpUnusable when the file is damaged, OSError."""
        for _ in range(self._integer()):
            yield self._entry()

    def _read_header(self) -> Header:
        if self._bytes(len(MAGIC)) != MAGIC:
            raise DumpUnusable(DAMAGED, "it does not begin as an archive of pg_dump does")
        major, minor, _, integer_bytes, offset_bytes, _ = self._bytes(6)
        version = (major, minor)
        if version > _READERS[-1][0]:
            raise DumpUnusable(
                "the dump is of a newer version than this engine knows: make it with the pg_dump "
                f"of PostgreSQL {_READERS[-1][1] + 1} or older",
                f"archive version {major}.{minor}",
            )
        if version < _OLDEST or integer_bytes not in (4, 8) or offset_bytes not in (4, 8):
            raise DumpUnusable(DAMAGED, f"archive version {major}.{minor}")
        self._integer_bytes, self._offset_bytes, self._version = (
            integer_bytes,
            offset_bytes,
            version,
        )
        if version >= (1, 15):
            compression = _COMPRESSIONS.get(self._bytes(1)[0], "unknown")
        else:
            compression = "gzip" if self._integer() else _NO_COMPRESSION
        for _ in range(7):
            self._integer()  # when it was made
        database, _, made_by = self._text(), self._text(), self._text()
        return Header(
            version=version,
            integer_bytes=integer_bytes,
            offset_bytes=offset_bytes,
            compression=compression,
            database=database,
            made_by=made_by.partition(" ")[0],
        )

    def _entry(self) -> Entry:
        number = self._integer()
        self._integer()  # whether it has data
        self._text(), self._text()  # its ids in the catalog
        name, kind = self._text(), self._text()
        if self._version >= (1, 11):
            self._integer()  # its section
        definition, _, _, schema, _ = (self._text() for _ in range(5))
        if self._version >= (1, 14):
            self._text()  # its access method
        if self._version >= (1, 16):
            self._integer()  # the kind of its relation
        owner = self._text()
        self._text()  # whether it has OIDs
        while self._text_or_none() is not None:
            pass  # the numbers of those that it depends on
        file = ""
        if self._is_custom:
            self._bytes(1 + self._offset_bytes)  # where its data is
        else:
            file = self._text()
        return Entry(
            number=number,
            kind=kind,
            name=name,
            schema=schema,
            owner=owner,
            definition=definition,
            file=file,
        )

    def _integer(self) -> int:
        sign, *rest = self._bytes(1 + self._integer_bytes)
        value = int.from_bytes(bytes(rest), "little")
        return -value if sign else value

    def _text(self) -> str:
        return self._text_or_none() or ""

    def _text_or_none(self) -> str | None:
        length = self._integer()
        return None if length < 0 else self._bytes(length).decode("utf-8", "replace")

    def _bytes(self, count: int) -> bytes:
        read = self._file.read(count) if count <= _LONGEST else b""
        if len(read) < count:
            raise DumpUnusable(DAMAGED, "its table of contents ends too early")
        return read
