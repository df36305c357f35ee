"""Images of registries, as distributions: what the catalog needs of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sqlrs_engine.errors import ImageUnavailable
from sqlrs_engine.processes.cancellation import Cancellation

from .distribution import Distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class PulledImage:
    """An unpacked image of a registry or a file.

    ``digest`` is that of its manifest for this platform. ``references`` are the names it was pulled
    by, in their familiar form.
    """

    distribution: Distribution
    digest: str
    references: tuple[str, ...]
    size_bytes: int


class Work(Protocol):
    """The work that needs an image, which a client may cancel and whose log it may read."""

    @property
    def cancellation(self) -> Cancellation:
        """The request to end the work."""

    @property
    def log(self) -> Callable[[str], None]:
        """Add a line to the log of the work."""


class PulledImages(Protocol):
    """The images of this machine; safe to use from any thread."""

    def available(self) -> list[PulledImage]:
        """Return the images that were pulled; reads few files, and none that it has read."""

    def resolve(self, image: str, work: Work | None) -> Distribution:
        """Return the PostgreSQL of an image, pulled before or now.

        It is only pulled for the sake of some ``work``. Raises ImageUnavailable if it is not here
        and is not to be pulled, what a pull raises, Cancelled, Interrupted.
        """

    def advice(self, image_id: str) -> str | None:
        """Return how to get the image with this id again, None if no job has used it."""


class NoImages:
    """No images at all: for a catalog of what is installed."""

    def available(self) -> list[PulledImage]:
        """Return nothing."""
        return []

    def resolve(self, image: str, work: Work | None) -> Distribution:
        """Raise ImageUnavailable."""
        raise ImageUnavailable(f"no PostgreSQL for {image}")

    def advice(self, image_id: str) -> str | None:
        """Return None."""
        return None
