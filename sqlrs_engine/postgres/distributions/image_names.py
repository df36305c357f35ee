"""Image names, such as ``postgres:17``, and their parts.

Others are ``postgres``, ``docker.io/library/postgres:17.2-alpine``, ``postgres@sha256:…``: the
grammar is that of container images, which existing scripts use. The flavour after a version
(``-alpine``, ``-bookworm``) is accepted and has no meaning here.
"""

import re
from dataclasses import dataclass

from sqlrs_engine.errors import InvalidArgument

ENGINE = "postgres"

_REFERENCE = re.compile(
    r"""
    (?P<path>(?:[a-z0-9.-]+:[0-9]{1,5}/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*)
    (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?
    (?:@(?P<digest>sha256:[0-9a-f]{64}))?
    """,
    re.VERBOSE,
)
_REGISTRY = re.compile(r"localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+:[0-9]{1,5}")
_VERSION_TAG = re.compile(
    r"(?P<version>(?P<major>[0-9]{1,3})(?:\.[0-9]{1,3}|beta[0-9]+|rc[0-9]+)?)(?:-[a-z0-9.-]+)?"
)
_MAX_LENGTH = 512
_LATEST_TAG = re.compile(r"latest|(?:alpine|bookworm|bullseye|trixie)[0-9.]*")


@dataclass(frozen=True, slots=True)
class Image:
    """The parts of an image name.

    ``repository`` is ``postgres`` for every spelling of the official image, and the name
    as given for any other. A digest (``sha256:<64 hex>``) wins over a tag. ``major`` and
    ``version`` are None when the tag leaves them open; ``version`` is set when the tag
    names one exactly (``17.2``). ``known_tag`` is False for a tag without a version.
    """

    repository: str
    major: int | None = None
    version: str | None = None
    digest: str | None = None
    known_tag: bool = True

    @property
    def image_id(self) -> str | None:
        """The image id in the name, None unless it has a digest."""
        return f"{self.repository}@{self.digest}" if self.digest else None


def parse_image(text: str) -> Image:
    """Parse an image name.

    Raises InvalidArgument when it is not an image name at all. ``Distributions.resolve`` checks
    whether there is such an image.
    """
    reference = _REFERENCE.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if reference is None:
        raise InvalidArgument(
            "invalid image: write it like postgres:17 or postgres@sha256:<64 hex digits>", text
        )
    repository = _repository(reference["path"])
    digest, tag = reference["digest"], reference["tag"]
    if tag is None or _LATEST_TAG.fullmatch(tag):
        return Image(repository, digest=digest)
    version = _VERSION_TAG.fullmatch(tag)
    if version is None:
        return Image(repository, digest=digest, known_tag=False)
    exact = version["version"] if version["version"] != version["major"] else None
    return Image(repository, major=int(version["major"]), version=exact, digest=digest)


def _repository(path: str) -> str:
    """Return ``path`` without the registry and the ``library/`` of official images."""
    parts = path.split("/")
    if len(parts) > 1 and _REGISTRY.fullmatch(parts[0]):
        parts = parts[1:]
    if len(parts) > 1 and parts[0] == "library":
        parts = parts[1:]
    return ENGINE if parts == [ENGINE] else path
