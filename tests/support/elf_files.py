"""Small ELF files: as much as loaders and relocation read, and no code."""

import struct
from pathlib import Path

X86_64 = 62
GLIBC_LOADER = "/lib64/ld-linux-x86-64.so.2"

_HEADER_BYTES, _SEGMENT_BYTES, _TAG_BYTES = 64, 56, 16
_BASE = 0x10000  # addresses in memory differ from places in the file


def elf_file(
    *,
    interpreter: str | None = None,
    runpath: str | None = None,
    tag: int = 29,
    strings: tuple[str, ...] = (),
    machine: int = X86_64,
) -> bytes:
    """Return a program (with an interpreter) or a library, with ``strings`` as its only data."""
    names = b"\0" + b"".join(each.encode() + b"\0" for each in (runpath or "", *strings))
    interp = interpreter.encode() + b"\0" if interpreter else b""
    tags = [(tag, 1)] if runpath else []
    tags += [(5, 0), (0, 0)]
    segments = 2 + bool(interp)
    data = _HEADER_BYTES + segments * _SEGMENT_BYTES
    table = data + len(interp)
    dynamic = table + len(names)
    end = dynamic + len(tags) * _TAG_BYTES
    tags = [(number, _BASE + table if number == 5 else value) for number, value in tags]
    found = [_segment(1, 0, end), _segment(2, dynamic, end - dynamic)]
    if interp:
        found.append(_segment(3, data, len(interp)))
    header = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, segments, 0, 0, 0)
    return (
        header + b"".join(found) + interp + names + b"".join(struct.pack("<QQ", *e) for e in tags)
    )


def write(path: Path, content: bytes, mode: int = 0o755) -> Path:
    """Write a file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _segment(kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, _BASE + offset, 0, size, size, 8)
