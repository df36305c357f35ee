"""Where the loader of an image finds shared libraries: the image's own, wherever the tree lies.

The loader of glibc gets a cache of all libraries (``ld.so.cache``, see dl-cache.h of glibc), which
it searches before the directories of the machine; that of musl a list of directories.
"""

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .elf import Elf
from .root_tree import MAX_TEXT_BYTES, RootTree, read

_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("=20sIIB3xI12x")
_ENTRY = struct.Struct("=iIIIQ")
_LITTLE_ENDIAN = 2
# FLAG_ELF_LIBC6 and the kind of library that each processor's loader accepts.
_FLAGS = {
    "x86_64": 0x0303,
    "aarch64": 0x0A03,
    "i686": 0x0003,
    "riscv64": 0x1003,
    "loongarch64": 0x1003,
}
_RUNS = re.compile(r"[0-9]+|[^0-9]", re.DOTALL)
_LIBRARY = re.compile(r".*\.so(\.[\w.-]+)?|ld-.*\.so\..*")
# The directories that every loader knows; those that an image lacks do no harm.
_USUAL = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
# No image has as many configuration files and patterns for them.
_MAX_SEEN = 100
_USUAL_OF_MUSL = ("/lib", "/usr/local/lib", "/usr/lib")


def library_dirs(tree: RootTree, libc: PurePosixPath, wanted: Iterable[str]) -> list[PurePosixPath]:
    """Return the directories with libraries in the order in which a loader of glibc searches them.

    ``libc`` is the path of the C library. ``wanted`` are directories that programs name
    themselves, which come last: so one file serves all that need a library of its name.
    """
    names = [*_configured(tree, "/etc/ld.so.conf", set()), str(libc.parent), *_USUAL, *wanted]
    return _existing(tree, names)


def library_dirs_of_musl(
    tree: RootTree, machine: str, wanted: Iterable[str]
) -> list[PurePosixPath]:
    """Return the directories with libraries in the order in which musl's loader does."""
    file = tree.file(f"/etc/ld-musl-{machine}.path")
    names = re.split(r"[:\n]", _text(file)) if file else _USUAL_OF_MUSL
    return _existing(tree, [*names, *wanted])


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library, or another ELF file: its path without links, and what it says."""

    path: Path
    elf: Elf


def libraries(
    tree: RootTree, directories: Iterable[PurePosixPath], like: Elf
) -> dict[str, Library]:
    """Return the libraries for programs ``like`` this one by file name; the first one counts."""
    found: dict[str, Library] = {}
    read: dict[Path, Library | None] = {}
    for directory in directories:
        for name, path in tree.files(directory, _LIBRARY):
            if name in found:
                continue
            if path not in read:
                read[path] = _suitable(path, like)
            library = read[path]
            if library is not None:
                found[name] = library
    return found


def cache(paths: Mapping[str, str], machine: str) -> bytes | None:
    """Return the content of an ``ld.so.cache``; None when the processor is unknown.

    ``paths`` are the paths of the libraries by name.
    """
    flags = _FLAGS.get(machine)
    if flags is None:
        return None
    names = sorted(paths, key=_rank, reverse=True)
    start = _HEADER.size + _ENTRY.size * len(names)
    strings = bytearray()
    entries = bytearray()
    for name in names:
        places = []
        for text in (name, paths[name]):
            places.append(start + len(strings))
            strings += text.encode("utf-8", "surrogateescape") + b"\0"
        entries += _ENTRY.pack(flags, places[0], places[1], 0, 0)
    header = _HEADER.pack(_MAGIC, len(names), len(strings), _LITTLE_ENDIAN, 0)
    return bytes(header + entries + strings)


def _rank(name: str) -> list[tuple[bool, int]]:
    """Return the key of glibc's order: digits count as numbers and come after all letters."""
    return [(run.isdigit(), int(run) if run.isdigit() else ord(run)) for run in _RUNS.findall(name)]


def _configured(tree: RootTree, pattern: str, seen: set[str | Path]) -> list[str]:
    """Return the directories that ``ld.so.conf`` lists, with the files that it includes.

    ``seen`` are the patterns and the files that were met before.
    """
    found: list[str] = []
    if pattern in seen or len(seen) >= _MAX_SEEN:
        return found
    seen.add(pattern)
    for path in tree.glob(pattern):
        file = tree.file(path)
        if file is None or file in seen or len(seen) >= _MAX_SEEN:
            continue
        seen.add(file)
        for line in _text(file).splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["include"]:
                for each in words[1:]:
                    found += _configured(tree, str(path.parent / each), seen)
            elif words and words[0].startswith("/"):
                found.append(words[0])
    return found


def _existing(tree: RootTree, names: Iterable[str]) -> list[PurePosixPath]:
    """Return the directories that there are, each of them once, by their real paths."""
    places = (tree.directory(name) for name in dict.fromkeys(names) if name.startswith("/"))
    return [tree.name(each) for each in dict.fromkeys(places) if each is not None]


def _suitable(path: Path, like: Elf) -> Library | None:
    elf = Elf.read(path)
    if elf is None or (elf.machine, elf.bits) != (like.machine, like.bits):
        return None
    return Library(path, elf)


def _text(file: Path) -> str:
    return read(file, MAX_TEXT_BYTES).decode("utf-8", "replace")
