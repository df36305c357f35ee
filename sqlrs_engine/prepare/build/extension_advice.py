"""What to do about extensions that the PostgreSQL of a step does not have."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.distributions.extension_repair import hidden
from sqlrs_engine.postgres.distributions.known_extensions import (
    Sources,
    extension_of,
    removed_in,
    sources_of,
)

ImagesWith = Callable[[str], list[tuple[str, Distribution]]]
"""Returns the images of this machine with an extension of some name."""

_UNAVAILABLE = re.compile(r'extension "(?P<name>.+)" is not available')
_NO_CONTROL_FILE = re.compile(
    r'could not open extension control file ".*/(?P<name>[^/"]+)\.control"'
)
_NO_LIBRARY = re.compile(r'could not (?:access file|load library) "(?:[^"]*/)?(?P<library>[^/"]+)"')


def extension_advice(
    message: str, distribution: Distribution, images_with: ImagesWith
) -> tuple[str, dict[str, Any]] | None:
    """Return what to do about an error of PostgreSQL, if it is about an extension.

    With the advice come its facts: the ``extension``, images that are ``here`` and have it, of
    these the one to ``use`` instead, the major version to ``install``, the image to ``pull``.
    """
    name = _extension(message)
    if name is None:
        return None
    here = [
        (image, other)
        for image, other in images_with(name)
        if other.image_id != distribution.image_id
    ]
    reason = hidden(distribution.root).get(name)
    sources = sources_of(name, distribution.major)
    if distribution.origin == "installed":
        sources = Sources(image=sources.image, package=sources.package)
    use = next((image for image, other in here if other.major == distribution.major), None)
    facts = {
        "extension": name,
        "here": [image for image, _ in here],
        "use": use,
        "install": sources.install,
        "pull": sources.image,
    }
    removed = removed_in(name, distribution.major)
    ways = "; or ".join(_ways(here, sources, removed))
    text = f"the extension {name} of PostgreSQL {distribution.version} does not work: {reason}"
    if reason is None:
        text = f"PostgreSQL {distribution.version} has no extension {name}"
    if not ways and reason is None:
        ways = "prepare with --image and an image of a registry that has it"
    advice = f"{text}: {ways}" if ways else text
    return advice, {key: value for key, value in facts.items() if value}


def _extension(message: str) -> str | None:
    for pattern in (_UNAVAILABLE, _NO_CONTROL_FILE):
        if found := pattern.match(message):
            return found["name"]
    found = _NO_LIBRARY.match(message)
    return extension_of(found["library"]) if found else None


def _ways(
    here: list[tuple[str, Distribution]], sources: Sources, removed: int | None
) -> Iterator[str]:
    if removed is not None:
        yield f"leave it out of the script, because PostgreSQL {removed} removed it"
    if here:
        of_each_version = {each.version: image for image, each in reversed(here)}
        images = " or ".join(image for image, _ in here if image in of_each_version.values())
        yield f"prepare with --image {images} of this machine"
    if sources.install is not None:
        yield f"run sqlrs-engine postgres install {sources.install}"
    if sources.image is not None and all(image != sources.image for image, _ in here):
        yield (
            f"run sqlrs-engine postgres pull {sources.image}, and prepare with "
            f"--image {sources.image}"
        )
    if sources.package is not None:
        yield (
            f"on Debian or Ubuntu: apt-get install {sources.package} (from apt.postgresql.org, "
            "unless the system has this version)"
        )
