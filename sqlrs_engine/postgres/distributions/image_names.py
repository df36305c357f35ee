"""Image names, such as ``postgres:17``, and their parts.

Others are ``postgres``, ``docker.io/library/postgres:17.2-alpine``, ``postgres@sha256:…``: the
grammar is that of container images (``images.references``), which existing scripts use. The flavour
after a version (``-alpine``, ``-bookworm``) is accepted and has no meaning here.
"""

import re
from dataclasses import dataclass, replace

from sqlrs_engine.postgres.images.references import Reference, parse_reference

ENGINE = "postgres"

_VERSION_TAG = re.compile(
    r"(?P<version>(?P<major>[0-9]{1,3})(?:\.[0-9]{1,3}|beta[0-9]+|rc[0-9]+)?)(?:-[a-z0-9.-]+)?"
)
_LATEST_TAG = re.compile(r"latest|(?:alpine|bookworm|bullseye|trixie)[0-9.]*")


@dataclass(frozen=True, slots=True)
class Image:
    """The parts of an image name.

    ``repository`` is ``postgres`` for every spelling of the official image of Docker Hub, and the
    familiar name, registry included, for any other. A digest (``sha256:<64 hex>``) wins over a
    tag. ``major`` and ``version`` are None when the tag leaves them open; ``version`` is set when
    the tag names one exactly (``17.2``). ``known_tag`` is False for a tag without a version.
    """

    repository: str
    major: int | None = None
    version: str | None = None
    digest: str | None = None
    known_tag: bool = True

    @property
    def official(self) -> bool:
        """Whether this is the official image, which any PostgreSQL of its version answers."""
        return self.repository == ENGINE

    @property
    def image_id(self) -> str | None:
        """The image id in the name, None unless it has a digest."""
        return f"{self.repository}@{self.digest}" if self.digest else None


def parse_image(text: str) -> Image:
    """Parse an image name.

    Raises InvalidArgument when it is not an image name at all. ``Distributions.resolve`` checks
    whether there is such an image.
    """
    reference = parse_reference(text)
    repository = ENGINE if reference.is_official_postgres else _familiar_name(reference)
    digest, tag = reference.digest, reference.tag
    if tag is None or _LATEST_TAG.fullmatch(tag):
        return Image(repository, digest=digest)
    version = _VERSION_TAG.fullmatch(tag)
    if version is None:
        return Image(repository, digest=digest, known_tag=False)
    exact = version["version"] if version["version"] != version["major"] else None
    return Image(repository, major=int(version["major"]), version=exact, digest=digest)


def _familiar_name(reference: Reference) -> str:
    return replace(reference, tag=None, digest=None).familiar
