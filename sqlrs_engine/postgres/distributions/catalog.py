"""The PostgreSQL distributions of this machine, and the one that an image names."""

import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sqlrs_engine.errors import (
    ClusterFailed,
    ImageUnavailable,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from sqlrs_engine.host.file_descriptors import shortage
from sqlrs_engine.host.private_directories import others_can_change
from sqlrs_engine.postgres.majors import OLDEST_MAJOR

from .additions import ARCHIVE_PACKAGE, Additions
from .advice import advice
from .distribution import Distribution, Origin, image_id
from .extensions import extension_dir, extensions_in
from .fingerprints import Fingerprints
from .image_names import ENGINE, Image, parse_image
from .pulled_images import NoImages, PulledImage, PulledImages, Work
from .search import (
    PROGRAMS,
    WHEEL_PACKAGE,
    PgConfigs,
    Place,
    installed_places,
    runnable,
    system_places,
    system_roots,
    wheel_places,
)

__all__ = ["Distribution", "Distributions"]

# Of several distributions of one version, the one that the user installed, then the one
# with the most extensions.
_PREFERENCE: tuple[Origin, ...] = ("installed", "system", "wheel", "image")

# The errors of a pull for which an installed version is a way out.
_ELSEWHERE = (ImageUnavailable, RegistryUnauthorized, RegistryUnavailable)

_Looks = dict[Path, tuple[int, ...] | None]

_log = logging.getLogger(__name__)


class Distributions:
    """The distributions; searched anew when a directory or program has changed.

    ``builds`` are places of downloaded versions besides ``install_root``, which also keeps the
    cache of fingerprints. ``search`` are directories to search besides the usual ones, by
    default those of ``PATH``. ``images`` are those of registries. ``may_fetch`` returns whether a
    job may download extensions. ``system_root``, ``package``, ``archive`` and ``pip`` are seams for
    tests.
    """

    def __init__(
        self,
        install_root: Path,
        *,
        builds: Iterable[Path] = (),
        search: Iterable[Path] | None = None,
        system_root: Path = Path("/"),
        package: str = WHEEL_PACKAGE,
        archive: str = ARCHIVE_PACKAGE,
        images: PulledImages | None = None,
        may_fetch: Callable[[], bool] = lambda: True,
        pip: Sequence[str] | None = None,
    ) -> None:
        self._images = images or NoImages()
        self._install_roots = (*builds, install_root)
        self._search = tuple(search or ())
        self._system_root = system_root
        self._package = package
        self._pg_configs = PgConfigs()
        self._fingerprints = Fingerprints(install_root / "fingerprints.json")
        self._additions = Additions(self._install_roots[0] / "additions", archive=archive, pip=pip)
        self._may_fetch = may_fetch
        self._warned: set[str] = set()
        self._found: tuple[_Looks, list[Distribution]] | None = None

    def available(self) -> list[Distribution]:
        """Return the distributions that run, best first: by version, then by origin."""
        pulled = self.pulled()
        if not pulled:
            return self.installed()
        found = [*self.installed(), *(each.distribution for each in pulled)]
        return sorted(found, key=_rank, reverse=True)

    def pulled(self) -> list[PulledImage]:
        """Return the images of registries that are here."""
        return self._images.available()

    def installed(self) -> list[Distribution]:
        """Return the distributions that are no images of registries, best first."""
        known = self._found
        if known is not None and _looks(known[0]) == known[0]:
            return known[1]
        roots = [place for root in self._install_roots for place in (root, *root.glob("*"))]
        roots += [*system_roots(self._system_root), *self._search, self._additions.fetched_root]
        # Before the search, so that the next one finds changes made meanwhile.
        before = _looks(roots)
        places = list(self._places())
        programs = [path for each in places for path in (each.bin_dir, each.bin_dir / "postgres")]
        before |= _looks(programs)
        before |= _looks(filter(None, (extension_dir(each.bin_dir) for each in places)))
        inspected, complete = self._inspect_all(places)
        found = [self._additions.planned(each, inspected) for each in inspected]
        # A program that does not run may lack a library, and libraries are not watched.
        self._found = (before, found) if complete else None
        return found

    def images_with(self, extension: str) -> list[tuple[str, Distribution]]:
        """Return the distributions that have an extension, best first, with images that mean them.

        A tag means the best distribution of its version; the others have only their ids.
        """
        installed = self.installed()
        tagged = {each.version: each for each in reversed(installed)}
        named = [
            (f"{ENGINE}:{each.version}" if tagged[each.version] is each else each.image_id, each)
            for each in installed
        ]
        for pulled in self.pulled():
            name = next(iter(pulled.references), pulled.distribution.image_id)
            named.append((name, pulled.distribution))
        return [each for each in named if extension in each[1].extensions]

    def fetch_extension(self, extension: str, distribution: Distribution, work: Work) -> bool:
        """Download an extension that a distribution lacks; return whether that is possible.

        Its servers find it at once. Raises ImageUnavailable when nothing may be downloaded or the
        extension cannot be used here, Unavailable when the download fails, Cancelled, Interrupted.
        """
        return self._additions.fetch(extension, distribution, work, allowed=self._may_fetch)

    def _inspect_all(self, places: Iterable[Place]) -> tuple[list[Distribution], bool]:
        """Return the distributions that run, best first, and whether none was left out."""
        complete = True
        found: dict[Path, Distribution] = {}
        for place in places:
            if not _complete(place.bin_dir):
                continue
            program = (place.bin_dir / "postgres").resolve()
            if program in found:
                continue
            try:
                distribution = self._inspect(place)
            except (ClusterFailed, OSError) as error:
                if (lack := shortage(error)) is not None:
                    raise lack from error
                self._warn_once(f"ignoring PostgreSQL in {place.bin_dir}: {error}")
                complete = False
                continue
            if distribution.major >= OLDEST_MAJOR:
                found[program] = distribution
        return sorted(found.values(), key=_rank, reverse=True), complete

    def resolve(self, image: str, work: Work | None = None) -> Distribution:
        """Return the distribution that an image means; never one of another major.

        In this order: the one with exactly this image id; for the official image, one that is
        installed; an image that was pulled for this reference; for the sake of some ``work``, the
        image pulled now.

        Raises InvalidArgument when it is no image, ImageUnavailable (naming what is available and
        the command that installs more) when nothing matches, and what a pull raises.
        """
        wanted = parse_image(image)
        if wanted.digest is not None:
            found = self._with_id(wanted.image_id)
        else:
            fitting = (each for each in self.installed() if _matches(each, wanted))
            found = next(fitting, None) if wanted.official else None
        if found is not None:
            return self._equipped(found)
        if wanted.official and wanted.major is not None and wanted.major < OLDEST_MAJOR:
            raise ImageUnavailable(f"no PostgreSQL for {image}", advice(wanted, self.available()))
        if wanted.image_id is not None and (way_back := self._images.advice(wanted.image_id)):
            # An id of this engine's own, which means nothing to a registry.
            raise ImageUnavailable(f"no PostgreSQL for {image}", way_back)
        try:
            return self._equipped(self._images.resolve(image, work))
        except _ELSEWHERE as error:
            if not wanted.official:
                raise
            reasons = filter(None, (error.details, advice(wanted, self.installed())))
            raise type(error)(error.message, "; ".join(reasons)) from error

    def get(self, image_id: str) -> Distribution:
        """Return the distribution with exactly this id.

        Raises InvalidArgument when it is no image, ImageUnavailable when it is gone.
        """
        wanted = parse_image(image_id)
        found = self._with_id(wanted.image_id)
        if found is None:
            raise ImageUnavailable(
                f"no PostgreSQL for {image_id}",
                self._images.advice(image_id) or advice(wanted, self.available()),
            )
        return self._equipped(found)

    def _equipped(self, found: Distribution) -> Distribution:
        """Return a distribution with what it takes from others: extensions or client programs."""
        if found.origin != "image":
            return self._additions.made(found)
        # Client programs work with servers of their own version and of older ones.
        fitting = [each for each in self.installed() if each.major >= found.major]
        nearest = min(fitting, key=lambda each: each.major, default=None)
        return replace(found, clients=nearest.bin_dir if nearest else None)

    def _with_id(self, image_id: str | None) -> Distribution | None:
        # For every server that starts: an installed version does not wait for a look at the images.
        for distribution in self.installed():
            if distribution.image_id == image_id:
                return distribution
        pulled = (each.distribution for each in self.pulled())
        return next((each for each in pulled if each.image_id == image_id), None)

    def _places(self) -> Iterable[Place]:
        for root in self._install_roots:
            for place in installed_places(root):
                # The engine runs these programs, as root if it is root.
                if others_can_change(root) or others_can_change(place.bin_dir):
                    self._warn_once(f"ignoring PostgreSQL in {place.bin_dir}: others can change it")
                else:
                    yield place
        yield from system_places(self._search, self._pg_configs, self._system_root)
        yield from wheel_places(self._package)

    def _inspect(self, place: Place) -> Distribution:
        fingerprint = self._fingerprints.of(place.bin_dir / "postgres")
        return Distribution(
            image_id=image_id(fingerprint.banner, fingerprint.build),
            version=fingerprint.version,
            major=fingerprint.major,
            bin_dir=place.bin_dir,
            library_dirs=place.library_dirs,
            origin=place.origin,
            extensions=extensions_in(extension_dir(place.bin_dir)),
        )

    def _warn_once(self, text: str) -> None:
        """Log a problem once, although every search finds it."""
        if text not in self._warned:
            self._warned.add(text)
            _log.warning(text)


def _looks(paths: Iterable[Path]) -> _Looks:
    """Return values that change with the content of directories and programs."""
    looks: _Looks = {}
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116 - at every job: Path's takes twice as long
        except OSError:
            looks[path] = None
        else:
            looks[path] = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_mode)
    return looks


def _complete(bin_dir: Path) -> bool:
    return all(runnable(bin_dir / program) for program in PROGRAMS)


def _rank(distribution: Distribution) -> tuple[int, int, int]:
    minor = distribution.version.partition(".")[2]
    # Betas and the like have no minor version: they come after every release.
    return (
        distribution.major if minor else 0,
        int(minor) if minor else distribution.major,
        -_PREFERENCE.index(distribution.origin),
    )


def _matches(distribution: Distribution, wanted: Image) -> bool:
    if wanted.version is not None:
        return distribution.version == wanted.version
    return wanted.known_tag and wanted.major in (None, distribution.major)
