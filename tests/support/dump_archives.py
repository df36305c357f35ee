"""Archives of pg_dump for tests, written byte by byte."""

import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

FORMATS = {"custom": 1, "tar": 3, "directory": 3}


@dataclass(frozen=True, kw_only=True)
class Item:
    """An object of an archive."""

    number: int = 1
    name: str = "t"
    kind: str = "TABLE"
    schema: str = "public"
    owner: str = "postgres"
    definition: str = ""
    file: str = ""


def table_of_contents(
    items: Iterable[Item] = (),
    *,
    version: tuple[int, int] = (1, 16),
    format: str = "custom",
    compression: int = 1,
    made_by: str = "17.2",
    database: str = "app",
    integer_bytes: int = 4,
) -> bytes:
    """Return the beginning of an archive of a version."""

    def integer(value: int) -> bytes:
        return bytes([value < 0]) + abs(value).to_bytes(integer_bytes, "little")

    def text(value: str | None) -> bytes:
        raw = (value or "").encode()
        return integer(-1) if value is None else integer(len(raw)) + raw

    def item(each: Item) -> bytes:
        parts = [integer(each.number), integer(0), text("0"), text("0")]
        parts += [text(each.name), text(each.kind), integer(2), text(each.definition)]
        parts += [text(""), text(None), text(each.schema), text(None)]
        parts += [text(None)] if version >= (1, 14) else []
        parts += [integer(0)] if version >= (1, 16) else []
        parts += [text(each.owner), text("false"), text("7"), text(None)]
        parts.append(bytes([3]) + bytes(8) if format == "custom" else text(each.file))
        return b"".join(parts)

    found = list(items)
    compressed = bytes([compression]) if version >= (1, 15) else integer(-1 if compression else 0)
    head = b"PGDMP" + bytes([*version, 0, integer_bytes, 8, FORMATS[format]]) + compressed
    texts = text(database) + text("17.2") + text(made_by)
    return head + integer(1) * 7 + texts + integer(len(found)) + b"".join(map(item, found))


def write_archive(path: Path, format: str, items: Iterable[Item] = (), **head: object) -> Path:
    """Write an archive without data in a format."""
    toc = table_of_contents(items, format=format, **head)  # type: ignore[arg-type]
    if format == "custom":
        path.write_bytes(toc)
    elif format == "directory":
        path.mkdir()
        (path / "toc.dat").write_bytes(toc)
    else:
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            member = tarfile.TarInfo("toc.dat")
            member.size = len(toc)
            tar.addfile(member, BytesIO(toc))
    return path
