"""References to images, in the grammar and with the defaults of ``docker run``.

``postgres`` is ``docker.io/library/postgres:latest``; ``postgis/postgis:17-3.5`` is
``docker.io/postgis/postgis:17-3.5``; a first part with a dot or a colon, or ``localhost``, is a
registry: ``localhost:5000/pg@sha256:…``.
"""

import re
from dataclasses import dataclass

from sqlrs_engine.errors import InvalidArgument

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"

_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
_OFFICIAL = "library/"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\[[0-9A-Fa-f:.]+\]|{_LABEL}(?:\.{_LABEL})*)(?::(?P<port>[0-9]{{1,5}}))?")
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_LENGTH = 512
_MAX_NAME_LENGTH = 255
_MAX_PORT = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The full name of an image.

    ``registry`` is a host with its port, if any, in lower case. ``repository`` is complete
    (``library/postgres``). Without a tag and a digest, ``tag`` is ``latest``; a digest wins over a
    tag, and then the tag may be None.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        return f"{self.registry}/{self.repository}{self._suffix}"

    @property
    def familiar(self) -> str:
        """The short form that people write: without ``docker.io`` and ``library/``."""
        if self.registry != DOCKER_HUB:
            return str(self)
        name = self.repository
        short = name.removeprefix(_OFFICIAL)
        return f"{name if '/' in short else short}{self._suffix}"

    @property
    def is_official_postgres(self) -> bool:
        """Whether this is ``postgres`` of Docker Hub, for which builds here stand in."""
        return (self.registry, self.repository) == (DOCKER_HUB, f"{_OFFICIAL}postgres")

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse_reference(text: str) -> Reference:
    """Parse a reference. Raises InvalidArgument when it is not one."""
    reference = _parse(text) if len(text) <= _MAX_LENGTH else None
    if reference is None:
        raise InvalidArgument(
            "invalid image: write it like postgres:17, ghcr.io/owner/name:tag or "
            "postgres@sha256:<64 hex digits>",
            text,
        )
    return reference


def is_digest(text: str) -> bool:
    """Return whether ``text`` is a digest that the engine can verify: ``sha256:<64 hex>``."""
    return _DIGEST.fullmatch(text) is not None


def _parse(text: str) -> Reference | None:
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        return None
    registry, repository = _split_registry(name)
    repository, colon, tag = repository.partition(":")
    if colon and not _TAG.fullmatch(tag):
        return None
    host = _HOST.fullmatch(registry)
    if host is None or int(host["port"] or 0) > _MAX_PORT:
        return None
    if not _REPOSITORY.fullmatch(repository) or len(repository) > _MAX_NAME_LENGTH:
        return None
    return Reference(
        registry=registry,
        repository=repository,
        tag=tag or (None if at else DEFAULT_TAG),
        digest=digest or None,
    )


def _split_registry(name: str) -> tuple[str, str]:
    """Return the registry, Docker Hub by default, and the rest of the name."""
    first, slash, rest = name.partition("/")
    names_host = any(sign in first for sign in ".:[") or first == "localhost"
    if not slash or not names_host:
        registry, repository = DOCKER_HUB, name
    else:
        registry, repository = first.lower(), rest
    if registry in _HUB_ALIASES:
        registry = DOCKER_HUB
    if registry == DOCKER_HUB and "/" not in repository:
        repository = f"{_OFFICIAL}{repository}"
    return registry, repository
