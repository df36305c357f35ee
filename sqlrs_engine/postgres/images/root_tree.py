"""A root file system as a directory: its paths, which are not those of this machine.

Symbolic links in it mean the same from outside: see ``root_files``.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path, PurePosixPath

from sqlrs_engine.errors import ImageUnusable

MAX_TEXT_BYTES = 1024**2
"""No configuration file is larger."""

_MAX_BYTES = 512 * 1024**2
_MAX_LINKS = 40
_MAX_MATCHES = 10_000
_WILDCARDS = re.compile(r"[*?\[]")


class RootTree:
    """The files below ``root``, found as a process would whose ``/`` it is.

    No link leads outside. Files may be hard links to those of other trees: they are replaced,
    never written to.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def resolve(self, path: str | PurePosixPath) -> Path | None:
        """Return the file that a path means, without links in it, None when there is none."""
        steps = [*reversed(PurePosixPath(path).parts)]
        place: list[str] = []
        links = 0
        while steps:
            step = steps.pop()
            if step in ("/", "."):
                place = place if step == "." else []
                continue
            if step == "..":
                place = place[:-1]
                continue
            here = self.root.joinpath(*place, step)
            try:
                status = here.lstat()
            except (OSError, ValueError):
                return None
            if not stat.S_ISLNK(status.st_mode):
                place.append(step)
                continue
            links += 1
            if links > _MAX_LINKS:
                return None
            steps += reversed(here.readlink().parts)
        return self.root.joinpath(*place)

    def name(self, path: Path) -> PurePosixPath:
        """Return how a file below the root is called inside it: ``/usr/bin/psql``."""
        return PurePosixPath("/", path.relative_to(self.root))

    def directory(self, path: str | PurePosixPath) -> Path | None:
        """Return the directory that a path means, None when there is none."""
        found = self.resolve(path)
        return found if found is not None and found.is_dir() else None

    def file(self, path: str | PurePosixPath) -> Path | None:
        """Return the plain file that a path means, None when there is none."""
        found = self.resolve(path)
        return found if found is not None and found.is_file() else None

    def files(
        self, directory: str | PurePosixPath, names: re.Pattern[str]
    ) -> Iterator[tuple[str, Path]]:
        """Yield the name and the resolved path of each plain file in a directory, sorted.

        The whole names have to match ``names``. Those that cannot be shown are left out.
        """
        place = self.directory(directory)
        for path in sorted(place.iterdir()) if place else ():
            if path.name.isprintable() and names.fullmatch(path.name):
                # Most are no links, and need no resolving.
                found = self.file(self.name(path)) if path.is_symlink() else path
                if found is not None and found.is_file():
                    yield path.name, found

    def glob(self, pattern: str) -> list[PurePosixPath]:
        """Return the paths that match, sorted; links to directories are followed inside only.

        Links in circles can make any number of paths: some thousands are returned.
        """
        found = [PurePosixPath("/")]
        for part in PurePosixPath(pattern).parts[1:]:
            found = [*islice(self._below(found, part), _MAX_MATCHES)]
        return found

    def _below(self, directories: list[PurePosixPath], name: str) -> Iterator[PurePosixPath]:
        """Yield what matches a name in directories."""
        known: dict[Path, list[str]] = {}
        for path in directories:
            place = self.directory(path)
            if place is not None:
                if place not in known:
                    known[place] = _matching(place, name)
                yield from (path / each for each in known[place])


def _matching(directory: Path, pattern: str) -> list[str]:
    if _WILDCARDS.search(pattern) is None:
        return [pattern] if os.path.lexists(directory / pattern) else []
    return sorted(each.name for each in directory.iterdir() if fnmatchcase(each.name, pattern))


def read(path: Path, limit: int = _MAX_BYTES) -> bytes:
    """Return the content of a file.

    Raises ImageUnusable when it is larger than such files are: a few bytes of a layer can make a
    file of any size.
    """
    size = path.stat().st_size
    if size > limit:
        raise ImageUnusable(
            "a file of the image is too large: use another image", f"{path.name} has {size} bytes"
        )
    return path.read_bytes()


def replace(path: Path, content: bytes | bytearray) -> None:
    """Put a new file with this content and the same permissions in the place of another."""
    mode = stat.S_IMODE(path.stat().st_mode)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".sqlrs-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
