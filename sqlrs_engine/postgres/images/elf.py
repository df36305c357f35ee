"""ELF programs and libraries: what decides how they are loaded, and changes to that in place.

Only what relocation needs is read. Changes never move a byte: a string is replaced by one of the
same length, a tag by one that means nothing.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_MAGIC = b"\x7fELF"
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 0, 5, 15, 29
# Of the range for operating systems, which loaders skip when they do not know a tag.
_DT_IGNORED = 0x6000_F000
# Far more than any file has.
_MAX_SEGMENTS = 1000
_MAX_TAGS = 10_000
_MAX_STRING_BYTES = 64 * 1024
_ENTRY_POINT_TYPES = (2, 3)  # ET_EXEC, ET_DYN

MACHINES = {
    3: "i686",
    21: "ppc64le",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
"""The processors by their number, named as ``uname -m`` does."""


@dataclass(frozen=True, slots=True)
class _Field:
    """Where a part of a file is."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Elf:
    """A program or a shared library.

    ``interpreter`` is the loader that a dynamically linked program names. ``search_path`` are the
    directories in which the file wants its libraries to be looked for before all others.
    """

    machine: str
    bits: int
    interpreter: str | None
    search_path: tuple[str, ...]
    _interpreter_field: _Field | None
    _search_tags: tuple[_Field, ...]
    _order: str

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file says, None when it is no ELF program or library. Raises OSError."""
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                return None
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                try:
                    return cls._parse(content)
                except (struct.error, IndexError, OverflowError, ValueError):
                    return None  # cut off, or made to mislead

    @classmethod
    def _parse(cls, content: mmap.mmap) -> Self | None:
        bits = 64 if content[4] == 2 else 32
        order = "<" if content[5] == 1 else ">"
        kind, machine = struct.unpack_from(order + "HH", content, 16)
        if kind not in _ENTRY_POINT_TYPES:
            return None
        segments = _segments(content, order, bits)
        interpreter = next((field for kind, _, field in segments if kind == _PT_INTERP), None)
        if interpreter is not None and interpreter.size > _MAX_STRING_BYTES:
            raise ValueError("the name of the loader is too long")
        tags = _dynamic(content, order, bits, segments)
        strings = next((value for tag, value, _ in tags if tag == _DT_STRTAB), None)
        searches = [each for each in tags if each[0] in (_DT_RPATH, _DT_RUNPATH)]
        directories: list[str] = []
        for _, value, _ in searches if strings is not None else ():
            start = _file_offset(segments, (strings or 0) + value)
            directories += _string(content, start).split(":")
        return cls(
            machine=MACHINES.get(machine, f"machine {machine}"),
            bits=bits,
            interpreter=_string(content, interpreter.offset) if interpreter else None,
            search_path=tuple(filter(None, directories)),
            _interpreter_field=interpreter,
            _search_tags=tuple(field for _, _, field in searches),
            _order=order,
        )

    def with_interpreter(self, content: bytearray, interpreter: str) -> bool:
        """Let the program name another loader; return False when there is no room for its name."""
        field = self._interpreter_field
        name = interpreter.encode() + b"\0"
        if field is None or len(name) > field.size:
            return False
        content[field.offset : field.offset + field.size] = name.ljust(field.size, b"\0")
        return True

    def without_search_path(self, content: bytearray) -> None:
        """Let the file have no wish as to where its libraries are looked for."""
        for field in self._search_tags:
            tag = _DT_IGNORED.to_bytes(field.size, "little" if self._order == "<" else "big")
            content[field.offset : field.offset + field.size] = tag


_Segment = tuple[int, int, _Field]  # type, address, place in the file
_Tag = tuple[int, int, _Field]  # tag, value, place of the tag


def _segments(content: mmap.mmap, order: str, bits: int) -> list[_Segment]:
    if bits == 64:
        (table,) = struct.unpack_from(order + "Q", content, 32)
        size, count = struct.unpack_from(order + "HH", content, 54)
        layout, picks = order + "IIQQQQ", (0, 3, 2, 5)
    else:
        (table,) = struct.unpack_from(order + "I", content, 28)
        size, count = struct.unpack_from(order + "HH", content, 42)
        layout, picks = order + "IIIII", (0, 2, 1, 4)
    if count > _MAX_SEGMENTS:
        raise ValueError("there are too many segments")
    found = []
    for number in range(count):
        values = struct.unpack_from(layout, content, table + number * size)
        kind, address, offset, length = (values[pick] for pick in picks)
        found.append((kind, address, _Field(offset, length)))
    return found


def _dynamic(content: mmap.mmap, order: str, bits: int, segments: list[_Segment]) -> list[_Tag]:
    """Return the entries of the dynamic section, up to its end."""
    place = next((field for kind, _, field in segments if kind == _PT_DYNAMIC), None)
    layout, width = (order + "QQ", 8) if bits == 64 else (order + "II", 4)
    found: list[_Tag] = []
    for at in range(place.offset, place.offset + place.size, 2 * width) if place else ():
        tag, value = struct.unpack_from(layout, content, at)
        if tag == _DT_NULL:
            break
        if len(found) == _MAX_TAGS:
            raise ValueError("there are too many tags")
        found.append((tag, value, _Field(at, width)))
    return found


def _file_offset(segments: list[_Segment], address: int) -> int:
    """Return where the byte at an address of memory is in the file."""
    for kind, start, field in segments:
        if kind == _PT_LOAD and start <= address < start + field.size:
            return field.offset + address - start
    raise ValueError("the address is outside the file")


def _string(content: mmap.mmap, start: int) -> str:
    end = content.find(b"\0", start, start + _MAX_STRING_BYTES)
    if end < 0:
        raise ValueError("the string has no end")
    return content[start:end].decode("utf-8", "surrogateescape")
