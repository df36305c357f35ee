"""A root file system as a directory: its paths, which are not those of this machine.

Symbolic links in it mean the same from outside: see ``root_files``.
"""

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

_MAX_LINKS = 40


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

        The whole names have to match ``names``.
        """
        place = self.directory(directory)
        for path in sorted(place.iterdir()) if place else ():
            if names.fullmatch(path.name):
                # Most are no links, and need no resolving.
                found = self.file(self.name(path)) if path.is_symlink() else path
                if found is not None and found.is_file():
                    yield path.name, found

    def glob(self, pattern: str) -> list[PurePosixPath]:
        """Return the paths that match, sorted; links to directories are followed inside only."""
        found = [PurePosixPath("/")]
        for part in PurePosixPath(pattern).parts[1:]:
            places = [(path, place) for path in found if (place := self.directory(path))]
            found = [
                path / entry.name
                for path, place in places
                for entry in sorted(place.iterdir())
                if fnmatchcase(entry.name, part)
            ]
        return found


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
