"""Manifests and configurations of images, Docker's and OCI's.

An index lists a manifest for each platform; a manifest names a configuration and layers; the
configuration has the environment, the entry point and the digests of the layers' contents. All are
JSON that someone else wrote: whatever is not as it should be raises ImageCorrupt.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlrs_engine.errors import ImageCorrupt, ImageUnavailable

from .platforms import Platform, choose
from .references import is_digest

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_CONFIG_BYTES = 8 * 1024 * 1024
_MAX_LAYERS = 1000
_MAX_LAYER_BYTES = 64 * 1024**3
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*=")
# Docker's build caches and signatures are listed under this platform.
_NOT_AN_IMAGE = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """The name of a blob: what it is, its digest and its size in bytes."""

    media_type: str
    digest: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The parts of an image on one platform; ``digest`` is its own."""

    digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What an image says about how it is run; ``diff_ids`` are the digests of unpacked layers."""

    os: str
    architecture: str
    variant: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    diff_ids: tuple[str, ...] = ()

    @property
    def platform(self) -> Platform:
        """The platform that the image is for."""
        return Platform(os=self.os, architecture=self.architecture, variant=self.variant)


def digest_of(content: bytes) -> str:
    """Return the digest of a content: ``sha256:<64 hex>``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def read_index(content: bytes, media_type: str | None) -> "tuple[Listed, ...] | None":
    """Return what an index lists, None when ``content`` is a manifest of one platform.

    ``media_type`` is what came with the content; its own ``mediaType`` counts first.
    """
    index = _object(content, "index")
    kind = index.get("mediaType") or media_type
    if "manifests" not in index or kind in (OCI_MANIFEST, DOCKER_MANIFEST):
        return None
    listed = _list(index, "manifests", "index")
    return tuple(_listed(_mapping(each, "index")) for each in listed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A manifest in an index; ``platform`` is None when the index does not say which."""

    descriptor: Descriptor
    platform: Platform | None = None
    reference: str | None = None


def manifest_for(listed: Sequence[Listed], wanted: Platform, image: str) -> Listed:
    """Return the manifest for a platform.

    Raises ImageUnavailable, naming the platforms that there are. A single manifest without a
    platform is taken: its configuration says what it is for.
    """
    images = [each for each in listed if each.platform is None or each.platform.os != _NOT_AN_IMAGE]
    offered = [each for each in images if each.platform is not None]
    best = choose([each.platform for each in offered if each.platform], wanted)
    if best is not None:
        return offered[best]
    if not offered and len(images) == 1:
        return images[0]
    raise no_such_platform(image, wanted, [str(each.platform) for each in offered])


def no_such_platform(image: str, wanted: Platform, offered: Sequence[str]) -> ImageUnavailable:
    """Return the error for an image that is not for this machine."""
    listed = ", ".join(dict.fromkeys(offered)) or "none"
    return ImageUnavailable(
        f"the image {image} is not for {wanted}: use another image or tag",
        f"its platforms: {listed}",
    )


def read_manifest(content: bytes, digest: str) -> Manifest:
    """Read the manifest of one platform, whose digest has been verified."""
    manifest = _object(content, "manifest")
    if manifest.get("schemaVersion") != 2:
        raise corrupt("manifest", "it has an outdated format (schema version 1)")
    layers = _list(manifest, "layers", "manifest")
    if len(layers) > _MAX_LAYERS:
        raise corrupt("manifest", f"it has {len(layers)} layers")
    return Manifest(
        digest=digest,
        config=_descriptor(_mapping(manifest.get("config"), "manifest")),
        layers=tuple(_descriptor(_mapping(each, "manifest")) for each in layers),
    )


def read_config(content: bytes) -> ImageConfig:
    """Read an image's configuration, whose digest has been verified."""
    kept = _object(content, "configuration")
    run = _mapping(kept.get("config") or {}, "configuration")
    diff_ids = _list(_mapping(kept.get("rootfs"), "configuration"), "diff_ids", "configuration")
    if not all(isinstance(each, str) and is_digest(each) for each in diff_ids):
        raise corrupt("configuration", "its rootfs has no usable diff_ids")
    environment = (each.partition("=") for each in _strings(run.get("Env")) if _usable(each))
    labels = _mapping(run.get("Labels") or {}, "configuration")
    return ImageConfig(
        os=_text(kept.get("os")),
        architecture=_text(kept.get("architecture")),
        variant=_text(kept.get("variant") or ""),
        env={name: value for name, _, value in environment},
        entrypoint=_strings(run.get("Entrypoint")),
        cmd=_strings(run.get("Cmd")),
        labels={str(name): str(value) for name, value in labels.items()},
        diff_ids=tuple(diff_ids),
    )


def corrupt(what: str, reason: str) -> ImageCorrupt:
    """Return the error for a document of an image that cannot be read."""
    return ImageCorrupt(
        f"the image's {what} is unreadable: pull it again, or ask its publisher to repair it",
        reason,
    )


def _listed(entry: Mapping[str, Any]) -> Listed:
    named = entry.get("platform")
    annotations = _mapping(entry.get("annotations") or {}, "index")
    name = annotations.get("io.containerd.image.name") or annotations.get(
        "org.opencontainers.image.ref.name"
    )
    platform = None
    if named is not None:
        stated = _mapping(named, "index")
        platform = Platform(
            os=_text(stated.get("os")),
            architecture=_text(stated.get("architecture")),
            variant=_text(stated.get("variant") or ""),
        )
    return Listed(
        descriptor=_descriptor(entry),
        platform=platform,
        reference=name if isinstance(name, str) else None,
    )


def _descriptor(entry: Mapping[str, Any]) -> Descriptor:
    digest, size = entry.get("digest"), entry.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise corrupt("manifest", f"the engine cannot verify the digest {digest!r}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_LAYER_BYTES:
        raise corrupt("manifest", f"{digest} has the size {size!r}")
    return Descriptor(media_type=_text(entry.get("mediaType") or ""), digest=digest, size=size)


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise corrupt(what, str(error)) from error
    return _mapping(value, what)


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise corrupt(what, "an object is missing")
    return value


def _list(parent: Mapping[str, Any], key: str, what: str) -> list[Any]:
    value = parent.get(key)
    if not isinstance(value, list):
        raise corrupt(what, f"it has no list {key}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise corrupt("configuration", f"a text is missing where it has {value!r}")
    return value


def _usable(assignment: str) -> bool:
    """Return whether a process can have a variable."""
    named = _VARIABLE.match(assignment) is not None and "\0" not in assignment
    # JSON can have halves of characters.
    return named and not any("\ud800" <= each <= "\udfff" for each in assignment)


def _strings(value: Any) -> tuple[str, ...]:
    """Return a list of texts; a missing one is empty, and a text alone is a list of one."""
    values = [value] if isinstance(value, str) else value or []
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise corrupt("configuration", f"a list of texts is missing where it has {value!r}")
    return tuple(values)
