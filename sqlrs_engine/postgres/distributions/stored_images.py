"""The images on disk as distributions: found again, and pulled when a job needs one."""

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from sqlrs_engine.errors import ImageUnavailable, RegistryUnavailable
from sqlrs_engine.host.private_directories import others_can_change
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.progress import OnProgress
from sqlrs_engine.postgres.images.progress_lines import ProgressLines, megabytes
from sqlrs_engine.postgres.images.references import Reference, parse_reference
from sqlrs_engine.postgres.images.registry_hosts import RegistrySettings
from sqlrs_engine.processes.cancellation import Cancellation

from .distribution import Distribution, image_id_of
from .known_images import KnownImages
from .pulled_images import PulledImage, Work

Policy = Literal["missing", "never", "always"]

_Look = tuple[int, ...] | None

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullSettings:
    """What the configuration says about pulls: ``images.pull`` and ``images.registries``."""

    policy: Policy = "missing"
    registries: Mapping[str, RegistrySettings] = field(default_factory=dict)


class Pull(Protocol):
    """Pulls an image into a store."""

    def __call__(
        self,
        reference: Reference,
        *,
        registries: Mapping[str, RegistrySettings],
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> StoredImage:
        """Return the image that the registry has for the reference, pulled unless it is here.

        Raises ImageUnavailable, ImageUnusable, ImageCorrupt, RegistryUnauthorized,
        RegistryUnavailable, StorageFull, and what ends ``cancellation``.
        """


@dataclass(frozen=True, slots=True)
class _Reading:
    """The images that were read, and how the paths looked whose change makes them stale."""

    looks: Mapping[Path, _Look]
    images: list[StoredImage]

    def stale(self) -> bool:
        """Return whether a directory or a program has changed since."""
        return any(_look(path) != look for path, look in self.looks.items())


class StoredImages:
    """Implements ``PulledImages`` over a store; safe to use from any thread."""

    def __init__(
        self,
        store: ImageStore,
        pull: Pull,
        settings: Callable[[], PullSettings] = PullSettings,
    ) -> None:
        self._store = store
        self._pull = pull
        self._settings = settings
        self._known = KnownImages(store.root / "known.json")
        self._lock = threading.Lock()
        self._read: _Reading | None = None
        self._found: dict[Reference, StoredImage] = {}
        self._complained = False

    def available(self) -> list[PulledImage]:
        """Return the images whose programs are there."""
        return [_pulled(image) for image in self._images()]

    def resolve(self, image: str, work: Work | None) -> Distribution:
        """Return the PostgreSQL of an image, pulled before or now; see ``PulledImages``."""
        reference = parse_reference(image)
        settings = self._settings()
        found = self._find(reference)
        looks_up = settings.policy == "always" and reference.digest is None
        if found is not None and (work is None or not looks_up):
            return _distribution(found)
        if work is None or settings.policy == "never":
            raise _not_here(reference, settings.policy)
        try:
            return _distribution(self._pulled_now(reference, settings, work))
        except RegistryUnavailable as error:
            if found is None:
                raise
            work.log(f"using {reference.familiar} as it was pulled before: {error}")
            return _distribution(found)

    def advice(self, image_id: str) -> str | None:
        """Return how to get an image of this machine again, None if it never was here."""
        command = self._known.command(image_id)
        return command and f"its image was removed from this machine; to bring it back: {command}"

    def note(self, image: StoredImage) -> None:
        """Remember how to get an image again that has just been pulled or loaded."""
        self._known.add(image_id_of(image.digest), image)
        self._forget()

    def _pulled_now(self, reference: Reference, settings: PullSettings, work: Work) -> StoredImage:
        lines = ProgressLines(f"pulling {reference.familiar}", work.log)
        image = self._pull(
            reference,
            registries=settings.registries,
            on_progress=lines,
            cancellation=work.cancellation,
        )
        self.note(image)
        work.log(
            f"pulled {reference.familiar}: {megabytes(image.size_bytes)} MB, {image.digest[:19]}"
        )
        return image

    def _find(self, reference: Reference) -> StoredImage | None:
        self._images()  # forgets what was found before the last change
        known = self._found
        if reference not in known:
            image = self._store.find(reference)
            if image is None:
                return None
            known[reference] = image
        return known[reference]

    def _images(self) -> list[StoredImage]:
        """Return the images, read anew when a directory or a program has changed."""
        with self._lock:
            if self._read is None or self._read.stale():
                self._found = {}
                self._read = self._read_anew()
            return self._read.images

    def _read_anew(self) -> _Reading:
        layout = self._store.layout
        # Before they are read, so that the next call finds changes made meanwhile.
        looks = {path: _look(path) for path in (layout.root, layout.references)}
        images = self._trusted()
        programs = {each.digest: each.bin_dir / "postgres" for each in images}
        looks |= {path: _look(path) for path in programs.values()}
        whole = [each for each in images if looks[programs[each.digest]] is not None]
        return _Reading(looks, whole)

    def _trusted(self) -> list[StoredImage]:
        root = self._store.root
        if not root.is_dir():
            return []
        if others_can_change(root):
            # The engine runs these programs, as root if it is root.
            if not self._complained:
                self._complained = True
                _log.warning("ignoring the images in %s: others can change them", root)
            return []
        return self._store.images()

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
        references=image.references,
        size_bytes=image.size_bytes,
    )


def _distribution(image: StoredImage) -> Distribution:
    return Distribution(
        image_id=image_id_of(image.digest),
        version=image.programs.version,
        major=image.programs.major,
        bin_dir=image.bin_dir,
        origin="image",
        extensions=image.programs.extensions,
    )


def _not_here(reference: Reference, policy: Policy) -> ImageUnavailable:
    name = reference.familiar
    if policy == "never":
        details = f"images.pull is never; to pull it: sqlrs-engine postgres pull {name}"
    else:
        details = f"a prepare pulls it; to pull it alone: sqlrs-engine postgres pull {name}"
    return ImageUnavailable(f"the image {name} is not on this machine", details)
