"""The images on disk as distributions: found again, and pulled when a job needs one."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from sqlrs_engine.errors import ImageUnavailable, RegistryUnavailable
from sqlrs_engine.host.private_directories import others_can_change
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.progress import OnProgress
from sqlrs_engine.postgres.images.progress_lines import ProgressLines, mebibytes
from sqlrs_engine.postgres.images.references import Reference, parse_reference
from sqlrs_engine.postgres.images.registry_hosts import RegistrySettings
from sqlrs_engine.processes.cancellation import Cancellation

from .distribution import Distribution, EntryPoint, image_id_of
from .known_images import KnownImages
from .pulled_images import PulledImage, Work

Policy = Literal["missing", "never", "always"]

_Look = tuple[int, ...] | None

_log = logging.getLogger(__name__)


class PullSettings(Protocol):
    """The settings of pulls, read anew each time: they may change at any time."""

    def policy(self) -> Policy:
        """Return ``images.pull``."""

    def registries(self) -> Mapping[str, RegistrySettings]:
        """Return ``images.registries``."""


class Source(Protocol):
    """Brings images into the store."""

    def pull(
        self,
        reference: Reference,
        registries: Mapping[str, RegistrySettings],
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> StoredImage:
        """Return the image that the registry has for the reference, pulled unless it is here.

        Raises ImageUnavailable, ImageUnusable, ImageCorrupt, RegistryUnauthorized,
        RegistryUnavailable, StorageFull, and what ends ``cancellation``.
        """

    def load(
        self,
        file: Path,
        name: Reference | None,
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> Sequence[StoredImage]:
        """Return the images of a file; ``name`` is one more reference for the only one in it.

        Raises InvalidArgument, ImageUnavailable, ImageUnusable, ImageCorrupt, StorageFull, and
        what ends ``cancellation``.
        """


@dataclass(frozen=True, slots=True)
class _Reading:
    """The images that were read, and how the paths looked whose change makes them stale."""

    looks: Mapping[Path, _Look]
    images: list[StoredImage]
    pulled: list[PulledImage]

    def stale(self) -> bool:
        """Return whether a directory or a program has changed since."""
        return any(_look(path) != look for path, look in self.looks.items())


class StoredImages:
    """Implements ``PulledImages`` over a store; safe to use from any thread."""

    def __init__(
        self,
        store: ImageStore,
        source: Source,
        settings: PullSettings,
        known: KnownImages,
    ) -> None:
        """``known`` are the images that jobs have used."""
        self.store = store
        self._source = source
        self._settings = settings
        self._known = known
        self._lock = threading.Lock()
        self._read: _Reading | None = None
        self._found: dict[Reference, StoredImage] = {}
        self._complained = False

    def available(self) -> list[PulledImage]:
        """Return the images whose programs are there."""
        return self._reading().pulled

    def resolve(self, image: str, work: Work | None) -> Distribution:
        """Return the PostgreSQL of an image, pulled before or now; see ``PulledImages``."""
        reference = parse_reference(image)
        found = self._find(reference)
        if work is None:
            if found is None:
                raise _not_here(reference, self._settings.policy())
            return _distribution(found)
        wanted = self._for_work(reference, found, work)
        distribution = _distribution(wanted)
        self._known.add(distribution.image_id, wanted)
        return distribution

    def _for_work(self, reference: Reference, found: StoredImage | None, work: Work) -> StoredImage:
        """Return the image that was found, or the one that is pulled instead."""
        policy = self._settings.policy()
        if found is not None and (policy != "always" or reference.digest is not None):
            return found
        if policy == "never":
            raise _not_here(reference, policy)
        try:
            return self._pulled_now(reference, found, work)
        except RegistryUnavailable as error:
            if found is None:
                raise
            work.log(f"using {reference.familiar} as it was pulled before: {error}")
            return found

    def advice(self, image_id: str) -> str | None:
        """Return how to get an image again that a job has used, None if none has."""
        command = self._known.command(image_id)
        return command and f"its image was removed from this machine; to bring it back: {command}"

    def fetch(
        self, reference: Reference, on_progress: OnProgress, cancellation: Cancellation
    ) -> StoredImage:
        """Return the image that the registry has for a reference now; raises as ``Source`` does."""
        registries = self._settings.registries()
        image = self._source.pull(reference, registries, on_progress, cancellation)
        self._forget()
        return image

    def load(
        self,
        file: Path,
        name: Reference | None,
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> Sequence[StoredImage]:
        """Return the images of a file; ``name`` and what it raises are as for ``Source``."""
        loaded = self._source.load(file, name, on_progress, cancellation)
        self._forget()
        return loaded

    def _pulled_now(
        self, reference: Reference, found: StoredImage | None, work: Work
    ) -> StoredImage:
        name = reference.familiar
        lines = ProgressLines(f"pulling {name}", work.log)
        image = self.fetch(reference, lines, work.cancellation)
        if found is not None and found.digest == image.digest:
            work.log(f"{name} has not changed: {image.digest[:19]}")
        else:
            unpacked = f"{mebibytes(image.size_bytes)} MiB unpacked"
            work.log(f"pulled {name}: {unpacked}, {image.digest[:19]}")
        return image

    def _find(self, reference: Reference) -> StoredImage | None:
        images = self._reading().images
        known = self._found
        if images and reference not in known:
            found = self.store.find(reference)
            # Of those that are trusted and whole, so that it is run.
            image = next((each for each in images if found and each.digest == found.digest), None)
            if image is not None:
                known[reference] = image
        return known.get(reference)

    def _reading(self) -> _Reading:
        """Return the images, read anew when a directory or a program has changed."""
        with self._lock:
            if self._read is None or self._read.stale():
                self._found, self._read = {}, None
                try:
                    self._read = self._read_anew()
                except PermissionError as error:
                    self._complain(f"they cannot be read: {error}")
            return self._read or _Reading({}, [], [])

    def _read_anew(self) -> _Reading:
        layout = self.store.layout
        # Before they are read, so that the next call finds changes made meanwhile.
        looks = {path: _look(path) for path in (layout.root, layout.references)}
        images = self._trusted()
        programs = {each.digest: each.bin_dir / "postgres" for each in images}
        looks |= {path: _look(path) for path in programs.values()}
        whole = [each for each in images if looks[programs[each.digest]] is not None]
        return _Reading(looks, whole, [_pulled(image) for image in whole])

    def _trusted(self) -> list[StoredImage]:
        root = self.store.root
        if not root.is_dir():
            return []
        if others_can_change(root):
            # The engine runs these programs, as root if it is root.
            self._complain("others can change them")
            return []
        return self.store.images()

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("ignoring the images in %s: %s", self.store.root, reason)

    def _forget(self) -> None:
        with self._lock:
            self._read = None


def _look(path: Path) -> _Look:
    """Return a value that changes with the content of a directory or a program."""
    try:
        status = os.stat(path)  # noqa: PTH116 - at every job: Path's takes twice as long
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_mode)


def _pulled(image: StoredImage) -> PulledImage:
    return PulledImage(
        distribution=_distribution(image),
        digest=image.digest,
        references=_shown(image),
        size_bytes=image.size_bytes,
    )


def _shown(image: StoredImage) -> tuple[str, ...]:
    """Return the tags of an image; only without one, the digests by which it was pulled."""
    return tuple(name for name in image.references if "@" not in name) or image.references


def _distribution(image: StoredImage) -> Distribution:
    return Distribution(
        image_id=image_id_of(image.digest),
        version=image.programs.version,
        major=image.programs.major,
        bin_dir=image.bin_dir,
        origin="image",
        extensions=image.programs.extensions,
        locale=image.programs.locale,
        entry_point=_entry_point(image),
    )


def _entry_point(image: StoredImage) -> EntryPoint | None:
    scripts = tuple(image.rootfs / each for each in image.programs.initdb_scripts)
    if not scripts:
        return None
    return EntryPoint(scripts=scripts, environment=tuple(image.config.env.items()))


def _not_here(reference: Reference, policy: Policy) -> ImageUnavailable:
    name = reference.familiar
    if policy == "never":
        details = f"images.pull is never; to pull it: sqlrs-engine postgres pull {name}"
    else:
        details = f"a prepare pulls it; to pull it alone: sqlrs-engine postgres pull {name}"
    return ImageUnavailable(f"the image {name} is not on this machine", details)
