"""The hosts of registries: their mirrors, and whether plain HTTP is allowed."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .references import DOCKER_HUB

# Docker Hub's API is on a host of its own.
_DOCKER_HUB_API = "registry-1.docker.io"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What ``images.registries`` has for a host.

    ``mirrors`` are hosts, each with a path if its repositories have one, tried in order before the
    registry itself. ``insecure`` allows certificates that cannot be verified, and plain HTTP.
    """

    mirrors: tuple[str, ...] = ()
    insecure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server to ask for an image: ``host`` with its port, and what precedes the repository."""

    host: str
    prefix: str = ""
    insecure: bool = False
    credentials_key: str = ""


def registry_settings(configured: Mapping[str, Any] | None) -> dict[str, RegistrySettings]:
    """Return the value of ``images.registries`` as settings by host."""
    return {
        host.lower(): RegistrySettings(
            mirrors=tuple(entry.get("mirrors") or ()), insecure=bool(entry.get("insecure"))
        )
        for host, entry in (configured or {}).items()
    }


def endpoints(registry: str, settings: Mapping[str, RegistrySettings]) -> tuple[Endpoint, ...]:
    """Return the servers to ask, in order: the mirrors, then the registry itself."""
    own = settings.get(registry, RegistrySettings())
    mirrors = (mirror.rstrip("/").partition("/") for mirror in own.mirrors)
    return (
        *(_endpoint(host.lower(), prefix, settings) for host, _, prefix in mirrors),
        _endpoint(registry, "", settings),
    )


def is_loopback(host: str) -> bool:
    """Return whether a host, with or without a port, is this machine by name or by address."""
    name = _without_port(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def _endpoint(host: str, prefix: str, settings: Mapping[str, RegistrySettings]) -> Endpoint:
    insecure = is_loopback(host) or settings.get(host, RegistrySettings()).insecure
    api_host = _DOCKER_HUB_API if host == DOCKER_HUB else host
    return Endpoint(host=api_host, prefix=prefix, insecure=insecure, credentials_key=host)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
