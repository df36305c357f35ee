"""Tar archives as a stream: members one after another, contents in pieces.

The formats are those that image builders write: ustar, pax, GNU's long names and all of GNU's
sparse formats. The standard library's ``tarfile`` takes ten times as long for small members, and
an image has thousands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .tar_sparse import SparseMap, read_sparse_header, read_sparse_text, sparse_pairs

Kind = Literal["file", "directory", "symlink", "hardlink", "special"]
Write = Callable[[int, memoryview], None]

BLOCK = 512
MAX_HEADER_BYTES = 1024 * 1024
_MAX_MEMBER_BYTES = 64 * 1024**3
_ZEROS = bytes(BLOCK)
_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "special",
    b"4": "special",
    b"5": "directory",
    b"6": "special",
}
_PAX_KEYS = frozenset(
    {
        b"path",
        b"linkpath",
        b"size",
        b"mtime",
        b"GNU.sparse.major",
        b"GNU.sparse.name",
        b"GNU.sparse.map",
        b"GNU.sparse.size",
        b"GNU.sparse.realsize",
        b"GNU.sparse.offset",
        b"GNU.sparse.numbytes",
    }
)
_CHECKSUM = slice(148, 156)
_CHECKSUM_BLANK = 8 * ord(" ")


class DamagedArchiveError(ValueError):
    """The archive is not a sound tar archive; the message says why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive; ``stored`` is how many bytes of content follow its header.

    ``size`` is that of the file. It differs from ``stored`` when the file is sparse: then
    ``sparse`` says where the stored bytes belong.
    """

    kind: Kind
    name: str
    link: str
    mode: int
    mtime: float
    size: int
    stored: int
    sparse: SparseMap | None = None


class TarStream:
    """Reads an archive from chunks, which need not be aligned with anything."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = memoryview(b"")
        # What is left of the current member, its padding included.
        self._content = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield the members; read the content of each before the next one, or it is skipped.

        Raises DamagedArchiveError, and what the chunks raise.
        """
        defaults: dict[str, str] = {}
        while (member := self._next(defaults)) is not None:
            yield member
        while self._fill():
            self._buffer = memoryview(b"")

    def read(self, member: Member, write: Write) -> None:
        """Hand the content of the current member to ``write``, with the places of the pieces."""
        regions = member.sparse if member.sparse is not None else ((0, self._content),)
        end = max((place + length for place, length in regions), default=0)
        if sum(length for _, length in regions) != self._content or end > member.size:
            raise DamagedArchiveError(f"the sparse map of {member.name} does not fit its content")
        for place, length in regions:
            end = place + length
            while place < end:
                piece = self._some(end - place)
                self._content -= len(piece)
                write(place, piece)
                place += len(piece)

    def _next(self, defaults: dict[str, str]) -> Member | None:
        """Return the next member, None at the end; ``defaults`` are the global pax headers."""
        pax = defaults
        long_name = long_link = None
        while True:
            self._skip(self._content + self._padding)
            header = self._block()
            if header is None:
                return None
            kind = header[156:157]
            size = self._start(header)
            if kind == b"x":
                pax = {**pax, **_pax_records(self._whole(size))}
            elif kind == b"g":
                defaults.update(_pax_records(self._whole(size)))
                pax = {**defaults, **pax}
            elif kind == b"L":
                long_name = _text(self._whole(size))
            elif kind == b"K":
                long_link = _text(self._whole(size))
            elif kind in _KINDS:
                return self._member(header, pax, long_name, long_link)
            # Anything else is of another system: a volume header, a list of names.

    def _start(self, header: bytes) -> int:
        size = _number(header[124:136])
        self._set_content(size)
        return size

    def _set_content(self, size: int) -> None:
        if not 0 <= size <= _MAX_MEMBER_BYTES:
            raise DamagedArchiveError(f"a member has {size} bytes")
        self._content, self._padding = size, -size % BLOCK

    def _member(
        self, header: bytes, pax: dict[str, str], long_name: str | None, long_link: str | None
    ) -> Member:
        name = pax.get("path") or long_name or _ustar_name(header)
        kind = _KINDS[header[156:157]]
        if kind == "file" and name.endswith("/"):
            kind = "directory"
        if "size" in pax:
            self._set_content(_decimal(pax["size"]))
        sparse, size = None, self._content
        if kind != "file":
            # Such members have no content, whatever their size says.
            self._set_content(0)
            size = 0
        elif header[156:157] == b"S":
            sparse, size = read_sparse_header(header, self._block_or_fail)
        elif "GNU.sparse.major" in pax or "GNU.sparse.map" in pax or "GNU.sparse.size" in pax:
            name = pax.get("GNU.sparse.name") or name
            sparse, size = self._pax_sparse(pax)
        return Member(
            kind=kind,
            name=name,
            link=pax.get("linkpath") or long_link or _text(header[157:257]),
            mode=_number(header[100:108]),
            mtime=_seconds(pax.get("mtime")) or float(_number(header[136:148])),
            size=size,
            stored=self._content,
            sparse=sparse,
        )

    def _pax_sparse(self, pax: dict[str, str]) -> tuple[SparseMap, int]:
        size = _decimal(pax.get("GNU.sparse.realsize") or pax.get("GNU.sparse.size") or "0")
        if pax.get("GNU.sparse.major") == "1":
            return read_sparse_text(self._content_block), size
        numbers = [_decimal(each) for each in pax.get("GNU.sparse.map", "").split(",") if each]
        return sparse_pairs(numbers), size

    def _content_block(self) -> bytes:
        """Return the next block of the current member's content."""
        if self._content < BLOCK:
            raise DamagedArchiveError("a sparse map is longer than its file")
        self._content -= BLOCK
        return self._exactly(BLOCK)

    def _block(self) -> bytes | None:
        """Return the next header, None at the end."""
        if not self._fill():
            return None
        header = self._exactly(BLOCK)
        if header == _ZEROS:
            return None
        stated = _number(header[_CHECKSUM])
        if sum(header) - sum(header[_CHECKSUM]) + _CHECKSUM_BLANK != stated:
            raise DamagedArchiveError("a header has the wrong checksum")
        return header

    def _block_or_fail(self) -> bytes:
        return self._exactly(BLOCK)

    def _whole(self, size: int) -> bytes:
        if size > MAX_HEADER_BYTES:
            raise DamagedArchiveError(f"an extended header has {size} bytes")
        self._content = 0
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        if len(self._buffer) >= size:
            return bytes(self._some(size))
        pieces = bytearray()
        while len(pieces) < size:
            pieces += self._some(size - len(pieces))
        return bytes(pieces)

    def _skip(self, size: int) -> None:
        while size:
            size -= len(self._some(size))
        self._content = self._padding = 0

    def _some(self, most: int) -> memoryview:
        """Return up to ``most`` bytes, at least one."""
        if not self._fill():
            raise DamagedArchiveError("it ends too early")
        piece = self._buffer[:most]
        self._buffer = self._buffer[most:]
        return piece

    def _fill(self) -> bool:
        """Return whether there are more bytes, and have some at hand."""
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer = memoryview(chunk)
        return True


def _number(field: bytes) -> int:
    """Read a number in octal digits, or in GNU's binary form."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
        return value if not field[0] & 0x40 else -1
    digits = field.strip(b" \0")
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise DamagedArchiveError("a header has a field that is not a number") from None


def _decimal(digits: str) -> int:
    if not digits.isascii() or not digits.isdigit() or len(digits) > 20:
        raise DamagedArchiveError("an extended header has a field that is not a number")
    return int(digits)


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _ustar_name(header: bytes) -> str:
    name = _text(header[0:100])
    # GNU's own format has something else where ustar has the prefix.
    if header[257:263] == b"ustar\0" and header[345]:
        return f"{_text(header[345:500])}/{name}"
    return name


def _pax_records(data: bytes) -> dict[str, str]:
    """Read records of the form ``<length> <key>=<value>``, each with a newline at its end."""
    records: dict[str, str] = {}
    offsets: list[str] = []
    while data:
        digits, space, _ = data.partition(b" ")
        if not space or not digits.isdigit() or len(digits) > 7:
            raise DamagedArchiveError("an extended header is damaged")
        length = int(digits)
        record = data[len(digits) + 1 : length]
        if length <= len(digits) + 1 or length > len(data) or not record.endswith(b"\n"):
            raise DamagedArchiveError("an extended header is damaged")
        key, _, value = record[:-1].partition(b"=")
        data = data[length:]
        if key not in _PAX_KEYS:
            continue  # kept, the headers of one archive would take any amount of memory
        name = key.decode("ascii")
        text = value.decode("utf-8", "surrogateescape")
        if "\0" in text:
            raise DamagedArchiveError("an extended header has a zero byte")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            offsets.append(text)
        records[name] = text
    if offsets:
        records["GNU.sparse.map"] = ",".join(offsets)
    return records
