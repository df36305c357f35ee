"""What the failures of registries are called, and what to do about each."""

import json
from collections.abc import Mapping

from sqlrs_engine.errors import (
    EngineError,
    ImageCorrupt,
    ImageUnavailable,
    RegistryUnauthorized,
    RegistryUnavailable,
)

from .references import DOCKER_HUB, Reference

_MAX_WORDS = 300


def unreachable(host: str, reason: str) -> RegistryUnavailable:
    """Return the error for a server that cannot be reached, or that leaves in the middle."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return RegistryUnavailable(
            f"the certificate of {host} cannot be verified: name its authority in SSL_CERT_FILE, "
            "or set insecure for this host in images.registries",
            reason,
        )
    if "WRONG_VERSION_NUMBER" in reason:
        return RegistryUnavailable(
            f"{host} speaks plain HTTP, not HTTPS: if you trust the network between, set insecure "
            "for this host in images.registries",
            reason,
        )
    return RegistryUnavailable(
        f"cannot reach the registry {host}: check the network, HTTPS_PROXY and NO_PROXY", reason
    )


def interrupted(host: str, reason: str) -> RegistryUnavailable:
    """Return the error for a transfer that was interrupted."""
    return RegistryUnavailable(
        f"the connection to {host} was interrupted: pull again, and the download continues where "
        "it ended",
        reason,
    )


def refused(
    reference: Reference, host: str, status: int, body: bytes, *, logged_in: bool
) -> EngineError:
    """Return the error for an answer that is not a success."""
    details = f"{host} answered {status}{_words(body)}"
    name = reference.familiar
    if status == 404:
        return ImageUnavailable(
            f"there is no image {name} in the registry: check its name and its tag", details
        )
    if status in (401, 403):
        return unauthorized(reference, host, details, logged_in=logged_in)
    if status == 429:
        return RegistryUnavailable(
            f"the registry {host} limits the rate of pulls: try again later"
            + ("" if logged_in else ", log in to have a higher limit")
            + ", or set a mirror in images.registries",
            details,
        )
    if status >= 500:
        return RegistryUnavailable(f"the registry {host} fails: try again later", details)
    return RegistryUnavailable(
        f"the registry {host} does not understand the request: check that it is a registry of "
        "container images",
        details,
    )


def incomplete(reference: Reference, host: str, path: str) -> ImageCorrupt:
    """Return the error for an image of which the registry lacks a part."""
    return ImageCorrupt(
        f"a part of the image {reference.familiar} is missing in the registry: use another tag, or "
        "ask its publisher to push it again",
        f"{host} has no {path}",
    )


def unauthorized(
    reference: Reference, host: str, details: str, *, logged_in: bool
) -> RegistryUnauthorized:
    """Return the error for an image that the registry keeps from this user."""
    login = "" if reference.registry == DOCKER_HUB else f" {reference.registry}"
    if logged_in:
        advice = (
            "check that these credentials may read it: they come from `docker login` or the like"
        )
    else:
        advice = f"check the name, or log in with `docker login{login}` or the like"
    return RegistryUnauthorized(
        f"the registry does not give the image {reference.familiar} to this user: {advice}", details
    )


def wrong_digest(what: str, wanted: str, found: str) -> ImageCorrupt:
    """Return the error for a content that is not what its digest says."""
    return ImageCorrupt(
        f"the registry sent {what} that does not match its digest: pull again, and check the "
        "mirrors in images.registries and the proxy",
        f"wanted {wanted}, got {found}",
    )


def _words(body: bytes) -> str:
    """Return what a registry says in an error, shortened."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    found = answer.get("errors") if isinstance(answer, Mapping) else None
    entries = (
        [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
    )
    said = [f"{each.get('code', '')} {each.get('message', '')}".strip() for each in entries]
    if not said and isinstance(answer, Mapping):
        details = answer.get("details") or answer.get("message") or ""
        said = [details] if isinstance(details, str) and details else []
    return f": {'; '.join(said)[:_MAX_WORDS]}" if said else ""
