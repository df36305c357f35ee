"""The locales of an image's C library."""

import mmap
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from .root_tree import RootTree

DIRECTORY = "/usr/lib/locale"
ARCHIVE = "locale-archive"

_ARCHIVE_MAGIC = 0xDE020109
_HEADER = struct.Struct("=IIIII")  # magic, serial, and of the names: offset, used, size
_NAME = struct.Struct("=III")  # hash, offset of the name, offset of the record
_MAX_LENGTH = 256
_MAX_NAMES = 100_000
_NOT_LOCALES = ("", "C", "POSIX")


def image_locale(tree: RootTree, environment: Mapping[str, str], *, musl: bool) -> str | None:
    """Return the locale that an image sets for its programs, None when its C library lacks it.

    musl takes every name.
    """
    wanted = environment.get("LC_ALL") or environment.get("LANG") or ""
    if wanted in _NOT_LOCALES:
        return None
    known = musl or _canonical(wanted) in {_canonical(each) for each in locales(tree)}
    return wanted if known else None


def locales(tree: RootTree) -> list[str]:
    """Return the locales that glibc finds in an image, in its spelling: ``en_US.utf8``."""
    place = tree.directory(DIRECTORY)
    if place is None:
        return []
    names = [each.name for each in place.iterdir() if each.name.isprintable() and each.is_dir()]
    archive = tree.file(f"{DIRECTORY}/{ARCHIVE}")
    return sorted(names + (_archived(archive) if archive else []))


def _archived(archive: Path) -> list[str]:
    """Return the names in a ``locale-archive``; see locarchive.h of glibc."""
    names = []
    try:
        with (
            archive.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            magic, _, start, _, count = _HEADER.unpack_from(content)
            for number in range(min(count, _MAX_NAMES) if magic == _ARCHIVE_MAGIC else 0):
                hash_value, name, record = _NAME.unpack_from(content, start + number * _NAME.size)
                if hash_value and record:
                    end = content.find(b"\0", name, name + _MAX_LENGTH)
                    names.append(content[name : max(name, end)].decode("ascii", "replace"))
    except (struct.error, ValueError):
        return []
    return names


def _canonical(name: str) -> str:
    """Return a name with its encoding as glibc compares it: without case and punctuation."""
    language, dot, encoding = name.partition(".")
    encoding, at, modifier = encoding.partition("@")
    return f"{language}{dot}{re.sub('[^a-z0-9]', '', encoding.lower())}{at}{modifier}"
