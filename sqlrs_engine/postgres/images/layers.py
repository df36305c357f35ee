"""Layers: an archive becomes a list of entries and the contents of its files.

::

    <layer>/entries.json    what the archive does to a root file system, in its order: this name
                            comes last, and only a layer that has it is complete
    <layer>/contents/<n>    the files, under numbers: no name from an archive is used here

``root_files`` makes root file systems of entries. Owners, device nodes and special bits of modes
are dropped: everybody may read all files, and execute those that somebody may.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sqlrs_engine.errors import ImageCorrupt

from .background import Worker
from .decompression import decompressed
from .tar_stream import Member, TarStream

LAYER_FORMAT = 1
"""Raised whenever a layer becomes other entries or contents; older ones are unpacked again."""

_ENTRIES_FILE = "entries.json"
_UNFINISHED = "entries.new"
_CONTENTS = "contents"
_MAX_ENTRIES = 500_000
_MAX_NAMES_BYTES = 256 * 1024**2
_MAX_CONTENT_BYTES = 64 * 1024**3
_MAX_PATH_BYTES = 3000
_MAX_NAME_BYTES = 255
_WHITEOUT = ".wh."
_WHITEOUT_META = ".wh..wh."
_OPAQUE = ".wh..wh..opq"
_ANY_EXECUTE = 0o111

# Manuals, what package managers keep for themselves, the sources of locales, and time zones with
# leap seconds, which PostgreSQL refuses. No program reads them to run PostgreSQL, its extensions
# or an image's scripts, and they are up to a third of the files of an image. Licences stay, and so
# do examples, which scripts may copy.
_LEFT_OUT = re.compile(
    r"usr/(local/)?share/(man|info|lintian|bug|doc-base)/."
    r"|usr/share/doc/(?!.*(copyright|licen[cs]e|copying|notice|/examples(/|$)))[^/]+/."
    r"|usr/share/(i18n|zoneinfo/right)/."
    r"|var/lib/(apt|dpkg/info)/."
    r"|var/(cache|log)/.",
    re.IGNORECASE,
)


class Kind(StrEnum):
    """The kind of an entry."""

    FILE = "f"
    DIRECTORY = "d"
    SYMLINK = "s"
    HARD_LINK = "h"
    WHITEOUT = "w"
    OPAQUE = "o"


@dataclass(frozen=True, slots=True)
class Entry:
    """One change that a layer makes at ``path``, which has no ``.`` or ``..`` in it.

    ``target`` is what a symbolic link has, or the path that a hard link names; ``content`` the
    number of a file's content. A whiteout removes what lower layers have at ``path``; an opaque
    whiteout, what they have below it.
    """

    kind: Kind
    path: str
    target: str = ""
    content: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """An unpacked layer in ``directory``."""

    directory: Path
    entries: tuple[Entry, ...]

    def content(self, number: int) -> str:
        """Return the path of the file with a content."""
        return f"{self.directory}/{_CONTENTS}/{number}"  # Path takes ten times as long


def unpack_layer(chunks: Iterable[bytes], diff_id: str, directory: Path) -> Layer:
    """Unpack a layer, compressed or not, into ``directory``, which is made; it is not complete.

    Raises ImageCorrupt when it does not have the digest ``diff_id`` or is not a sound archive,
    OSError, and what the chunks raise. What has been written then is of no use.
    """
    (directory / _CONTENTS).mkdir(parents=True)
    digest = hashlib.sha256()
    unpacking = _Unpacking(directory / _CONTENTS)
    try:
        # Decompression takes the longest, and a core of its own where there are several.
        with (
            Worker[bytes](lambda pieces: _update(digest, pieces)) as hashing,
            Worker[bytes](unpacking.run) as writing,
        ):
            for piece in decompressed(iter(chunks)):
                writing.put(piece)
                hashing.put(piece)
    except ValueError as error:
        raise _damaged(diff_id, str(error)) from error
    if f"sha256:{digest.hexdigest()}" != diff_id:
        raise _damaged(diff_id, f"its content has the digest sha256:{digest.hexdigest()}")
    kept = [[entry.kind, entry.path, entry.target, entry.content] for entry in unpacking.entries]
    content = json.dumps({"format": LAYER_FORMAT, "entries": kept}, separators=(",", ":"))
    (directory / _UNFINISHED).write_text(content, encoding="ascii")
    return Layer(directory, tuple(unpacking.entries))


def complete_layer(directory: Path) -> None:
    """Let ``read_layer`` find what was unpacked; the caller has waited until it is on the disk."""
    (directory / _UNFINISHED).rename(directory / _ENTRIES_FILE)


def is_complete(directory: Path) -> bool:
    """Return whether a layer, of this or another version, was unpacked to its end."""
    return (directory / _ENTRIES_FILE).exists()


def read_layer(directory: Path) -> Layer | None:
    """Return the layer in ``directory``, None when it is not complete or of another version."""
    try:
        kept = json.loads((directory / _ENTRIES_FILE).read_bytes())
        if kept["format"] != LAYER_FORMAT:
            return None
        return Layer(directory, tuple(Entry(Kind(kind), *rest) for kind, *rest in kept["entries"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _damaged(diff_id: str, reason: str) -> ImageCorrupt:
    return ImageCorrupt(
        "a layer of the image is damaged: pull it again, or ask its publisher to repair it",
        f"{diff_id}: {reason}",
    )


def _update(digest: "hashlib._Hash", pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        digest.update(piece)


class _Unpacking:
    """The entries of one archive, and how its contents are written."""

    def __init__(self, contents: Path) -> None:
        self.entries: list[Entry] = []
        self._contents = str(contents)  # Path takes half of the time
        self._files = 0
        self._names = 0
        self._bytes = 0
        self._archive = TarStream(iter(()))

    def run(self, pieces: Iterator[bytes]) -> None:
        """Unpack an archive. Raises ValueError when it is not sound, OSError."""
        self._archive = TarStream(pieces)
        for member in self._archive:
            self._take(member)

    def _take(self, member: Member) -> None:
        """Make an entry of a member. Raises ValueError when it has no business in an image."""
        parts = _parts(member.name)
        path = "/".join(parts)
        if not parts or member.kind == "special" or _LEFT_OUT.match(path):
            return
        self._names += len(path) + len(member.link)
        if len(self.entries) >= _MAX_ENTRIES or self._names > _MAX_NAMES_BYTES:
            raise ValueError("it has too many entries, or their names are too long")
        if parts[-1].startswith(_WHITEOUT):
            self._whiteout(parts)
        elif member.kind == "directory":
            self.entries.append(Entry(Kind.DIRECTORY, path))
        elif member.kind == "symlink":
            if not member.link or len(os.fsencode(member.link)) > _MAX_PATH_BYTES:
                raise ValueError(f"the symbolic link {path} has no usable target")
            self.entries.append(Entry(Kind.SYMLINK, path, member.link))
        elif member.kind == "hardlink":
            target = "/".join(_parts(member.link))
            if not _LEFT_OUT.match(target):
                self.entries.append(Entry(Kind.HARD_LINK, path, target))
        else:
            self._file(member, path)

    def _whiteout(self, parts: list[str]) -> None:
        *parents, name = parts
        if name == _OPAQUE:
            self.entries.append(Entry(Kind.OPAQUE, "/".join(parents)))
        elif not name.startswith(_WHITEOUT_META):  # else it is the bookkeeping of AUFS
            hidden = name.removeprefix(_WHITEOUT)
            if hidden in ("", ".", ".."):
                raise ValueError(f"it has the whiteout {'/'.join(parts)}")
            self.entries.append(Entry(Kind.WHITEOUT, "/".join((*parents, hidden))))

    def _file(self, member: Member, path: str) -> None:
        self._bytes += member.stored
        if max(self._bytes, member.size) > _MAX_CONTENT_BYTES:
            raise ValueError("it is too large")
        self._files += 1
        mode = 0o755 if member.mode & _ANY_EXECUTE else 0o644
        file = os.open(
            f"{self._contents}/{self._files}",
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC,
            mode,
        )
        try:
            if member.sparse is None:
                self._archive.read(member, lambda _, piece: _write(file, piece))
            else:
                self._archive.read(member, lambda place, piece: _write_at(file, piece, place))
                os.ftruncate(file, member.size)
            os.fchmod(file, mode)
            # Python compares the times of sources with those that its caches have.
            when = int(min(max(member.mtime, 0), 2**33)) * 10**9
            os.utime(file, ns=(when, when))
        finally:
            os.close(file)
        self.entries.append(Entry(Kind.FILE, path, content=self._files))


def _parts(name: str) -> list[str]:
    """Return the parts of a member's name below the root. Raises ValueError for ``..``."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    encoded = os.fsencode(name)
    if ".." in parts or b"\0" in encoded:
        raise ValueError(f"it has the name {name!r}")
    if len(encoded) > _MAX_PATH_BYTES or any(
        len(os.fsencode(part)) > _MAX_NAME_BYTES for part in parts if len(part) > 60
    ):
        raise ValueError(f"it has a name of {len(encoded)} bytes")
    return parts


def _write(file: int, piece: memoryview) -> None:
    written = os.write(file, piece)
    while written < len(piece):
        written += os.write(file, piece[written:])


def _write_at(file: int, piece: memoryview, place: int) -> None:
    written = 0
    while written < len(piece):
        written += os.pwrite(file, piece[written:], place + written)
