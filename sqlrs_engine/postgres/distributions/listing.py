"""The list of images that a prepare can name without a pull, with their sizes."""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .catalog import Distributions
from .distribution import Distribution, Origin
from .extensions import extension_dir
from .image_names import ENGINE

# What else is there is not PostgreSQL's.
_SHARED_ROOTS = frozenset(map(Path, ("/", "/usr", "/usr/local", "/opt")))


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedImage:
    """A distribution, and what it can be asked for by.

    ``references`` may be empty: then only the image id names it. ``digest`` is that of a pulled
    image. ``size_bytes`` is None where its files cannot be told from those of the system.
    """

    image_id: str
    references: tuple[str, ...]
    digest: str | None
    version: str
    major: int
    origin: Origin
    extensions: tuple[str, ...]
    size_bytes: int | None
    bin_dir: str


class ImageList:
    """Lists the images; safe to use from any thread."""

    def __init__(
        self, distributions: Distributions, *, shared: Iterable[Path] = _SHARED_ROOTS
    ) -> None:
        """``shared`` are directories that hold more than a distribution."""
        self._distributions = distributions
        self._sizes = _Sizes(frozenset(shared))

    def list(self) -> list[ListedImage]:
        """Return the images, best first; measures each distribution when it is new."""
        local = self._distributions.installed()
        pulled = {each.distribution.image_id: each for each in self._distributions.pulled()}
        names = _names(local)
        found = []
        for each in self._distributions.available():
            image = pulled.get(each.image_id)
            found.append(
                ListedImage(
                    image_id=each.image_id,
                    references=image.references if image else tuple(names.get(each.bin_dir, ())),
                    digest=image.digest if image else None,
                    version=each.version,
                    major=each.major,
                    origin=each.origin,
                    extensions=each.extensions,
                    size_bytes=image.size_bytes if image else self._sizes.of(each),
                    bin_dir=str(each.bin_dir),
                )
            )
        return found


def _names(local: list[Distribution]) -> dict[Path, list[str]]:
    """Return the tags that resolve to each of these distributions, which are best first."""
    names: dict[Path, list[str]] = {}
    taken = set()
    for each in local:
        for name in (f"{ENGINE}:{each.version}", f"{ENGINE}:{each.major}", ENGINE):
            if name not in taken:
                taken.add(name)
                names.setdefault(each.bin_dir, []).append(name)
    return names


class _Sizes:
    """The sizes of distributions, each measured once; thread-safe."""

    def __init__(self, shared: frozenset[Path]) -> None:
        self._shared = shared
        self._lock = threading.Lock()
        self._known: dict[tuple[str, Path], int | None] = {}

    def of(self, distribution: Distribution) -> int | None:
        """Return the size of all files, None where they are among the system's."""
        key = (distribution.image_id, distribution.bin_dir)
        with self._lock:
            if key not in self._known:
                shares = distribution.root.resolve() in self._shared
                self._known[key] = None if shares else _measure(distribution)
            return self._known[key]


def _measure(distribution: Distribution) -> int:
    root = distribution.root.resolve()
    places = [root, *(each.resolve() for each in distribution.library_dirs)]
    extensions = extension_dir(distribution.bin_dir)
    if extensions is not None and not extensions.resolve().is_relative_to(root):
        places.append(extensions.resolve().parent)
    seen: set[tuple[int, int]] = set()
    return sum(_sizes(place, seen) for place in places)


def _sizes(directory: Path, seen: set[tuple[int, int]]) -> int:
    """Return the size of the files below a directory; files with several names count once."""
    total = 0
    for status in _files(str(directory)):
        identity = (status.st_dev, status.st_ino)
        if identity not in seen:
            seen.add(identity)
            total += status.st_size
    return total


def _files(directory: str) -> Iterator[os.stat_result]:
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                yield os.lstat(os.path.join(place, name))  # noqa: PTH118 - thousands of files
            except FileNotFoundError:
                continue
