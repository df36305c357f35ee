"""The files of an image archive: in a directory, or in a tar archive that may be compressed."""

import contextlib
import posixpath
import stat
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from sqlrs_engine.errors import ImageCorrupt, InvalidArgument
from sqlrs_engine.processes.cancellation import Cancellation

from .decompression import DamagedStreamError, decompressed
from .manifests import corrupt

_CHUNK_BYTES = 1024 * 1024
_MAX_LINKS = 10


class Parts(Protocol):
    """The files of an archive, by name."""

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""

    def size(self, name: str) -> int:
        """Return the size of a file. Raises ImageCorrupt when it is missing."""

    def small(self, name: str, limit: int) -> bytes:
        """Return the content of a file. Raises ImageCorrupt when it is missing or larger."""

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file. Raises ImageCorrupt when it is missing."""


def opened_parts(file: Path, workspace: Path, cancellation: Cancellation) -> Parts:
    """Return the files of an archive; a compressed one is decompressed into ``workspace``.

    Raises InvalidArgument when it is not an archive, OSError.
    """
    if file.is_dir():
        return _Directory(file)
    try:
        mode = file.stat().st_mode
        if stat.S_ISREG(mode):
            file.open("rb").close()
    except OSError as error:
        raise InvalidArgument("the archive cannot be read: check its name", str(error)) from error
    if not stat.S_ISREG(mode):
        raise InvalidArgument("an image is loaded from a file or a directory", str(file))
    with contextlib.suppress(tarfile.TarError):
        return _Tar(file)
    copy = workspace / "archive.tar"
    try:
        with file.open("rb") as source, copy.open("xb") as target:
            for chunk in decompressed(iter(lambda: source.read(_CHUNK_BYTES), b"")):
                cancellation.check()
                target.write(chunk)
        return _Tar(copy)
    except (tarfile.TarError, DamagedStreamError) as error:
        raise InvalidArgument(
            "this is not an archive of images: load what docker save or skopeo copy writes, as a "
            "directory, as a tar archive, or compressed with gzip or zstd",
            f"{file}: {error}",
        ) from error


class _Files:
    """The parts that both kinds of archives share."""

    def has(self, name: str) -> bool:
        try:
            with self._opened(name):
                return True
        except ImageCorrupt:
            return False

    def size(self, name: str) -> int:
        with self._opened(name) as (_, size):
            return size

    def small(self, name: str, limit: int) -> bytes:
        if self.size(name) > limit:
            raise corrupt("archive", f"its file {name} has more than {limit} bytes")
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        with self._opened(name) as (file, size):
            while size:
                chunk = file.read(min(_CHUNK_BYTES, size))
                if not chunk:
                    raise corrupt("archive", f"its file {name} ends too early")
                size -= len(chunk)
                yield chunk

    def _opened(self, name: str) -> contextlib.AbstractContextManager[tuple[BinaryIO, int]]:
        """Open a file at the start of its content, and return it with its size."""
        raise NotImplementedError


class _Directory(_Files):
    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        path = self._root / name
        # A link in it leads wherever the owner of the directory wants, a name from a manifest not.
        if name.startswith("/") or ".." in name.split("/") or not path.is_file():
            raise corrupt("archive", f"its file {name} is missing")
        with path.open("rb") as file:
            yield file, path.stat().st_size


class _Tar(_Files):
    def __init__(self, path: Path) -> None:
        self._path = path
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
        self._places: Mapping[str, tuple[int, int]] = {
            _normal(each.name): (each.offset_data, each.size)
            for each in members
            if each.isreg() and not each.issparse()
        }
        # docker save has written equal layers once, and links to them.
        self._links: Mapping[str, str] = {
            _normal(each.name): _normal(
                each.linkname if each.islnk() else f"{posixpath.dirname(each.name)}/{each.linkname}"
            )
            for each in members
            if each.islnk() or each.issym()
        }

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[tuple[BinaryIO, int]]:
        found = _normal(name)
        for _ in range(_MAX_LINKS):
            found = self._links.get(found, found)
        if found not in self._places:
            raise corrupt("archive", f"its file {name} is missing")
        offset, size = self._places[found]
        with self._path.open("rb") as file:
            file.seek(offset)
            yield file, size


def _normal(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")
