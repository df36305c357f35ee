"""Credentials for registries, as ``docker login``, ``podman login`` and helpers keep them.

The files are read at every look-up: a login counts at once. Passwords are in no message and no
representation.
"""

import base64
import binascii
import json
import logging
import os
import pwd
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .references import DOCKER_HUB

# The name under which Docker has always kept the credentials of its hub.
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_IDENTITY_USER = "<token>"
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HELPER_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Credentials for a registry: a user with a password, or tokens."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


class Credentials:
    """The credentials of the user that ``environ`` belongs to.

    ``$REGISTRY_AUTH_FILE`` alone if it is set; else Docker's configuration (``$DOCKER_CONFIG``,
    ``~/.docker``), then the files of Podman, Buildah and Skopeo.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def find(self, host: str, repository: str) -> Login | None:
        """Return the credentials for a repository, None when there are none.

        Entries for a part of a registry (``ghcr.io/org``) count before those for all of it.
        """
        for file in self._files():
            config = _read(file)
            if config is not None:
                login = self._in(config, host, repository)
                if login is not None:
                    return login
        return None

    def _files(self) -> Iterator[Path]:
        named = self._environ.get("REGISTRY_AUTH_FILE")
        if named:
            yield Path(named)
            return
        home = self._home()
        docker = self._environ.get("DOCKER_CONFIG")
        if docker:
            yield Path(docker) / "config.json"
        elif home is not None:
            yield home / ".docker" / "config.json"
        runtime = self._environ.get("XDG_RUNTIME_DIR")
        if runtime:
            yield Path(runtime) / "containers" / "auth.json"
        config = self._environ.get("XDG_CONFIG_HOME")
        if config:
            yield Path(config) / "containers" / "auth.json"
        elif home is not None:
            yield home / ".config" / "containers" / "auth.json"

    def _home(self) -> Path | None:
        home = self._environ.get("HOME")
        if home:
            return Path(home)
        try:
            return Path(pwd.getpwuid(os.geteuid()).pw_dir)
        except KeyError:
            return None

    def _in(self, config: Mapping[str, Any], host: str, repository: str) -> Login | None:
        helpers = _mapping(config.get("credHelpers"))
        keys = [*_keys(host, repository)]
        for key in keys:
            if isinstance(helper := helpers.get(key), str):
                return self._from_helper(helper, key)
        auths = {_normal(key): entry for key, entry in _mapping(config.get("auths")).items()}
        for key in keys:
            login = _login(_mapping(auths.get(_normal(key))))
            if login is not None:
                return login
        store = config.get("credsStore")
        if isinstance(store, str) and store:
            return self._from_helper(store, _DOCKER_HUB_KEY if host == DOCKER_HUB else host)
        return None

    def _from_helper(self, name: str, server: str) -> Login | None:
        """Return what a credential helper has, None when it has nothing or does not work."""
        program = f"docker-credential-{name}"
        if not _HELPER_NAME.fullmatch(name):
            _log.warning("ignoring the credential helper %r: it is not the name of a program", name)
            return None
        try:
            answer = subprocess.run(
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                timeout=_HELPER_SECONDS,
                env=dict(self._environ),
                check=False,
            )
            if answer.returncode != 0:
                if b"credentials not found" not in answer.stdout:
                    _log.warning("%s failed for %s: its login is not used", program, server)
                return None
            kept = _mapping(json.loads(answer.stdout))
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            # The error has no output of the program in it.
            reason = type(error).__name__
            _log.warning("%s failed for %s: its login is not used: %s", program, server, reason)
            return None
        username, secret = _text(kept.get("Username")), _text(kept.get("Secret"))
        if username == _IDENTITY_USER:
            return Login(identity_token=secret)
        return Login(username=username, password=secret) if secret else None


def _keys(host: str, repository: str) -> Iterator[str]:
    """Yield the names of entries that suit, the most particular first."""
    parts = repository.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join((host, *parts[:count]))
    yield host
    if host == DOCKER_HUB:
        yield from (_DOCKER_HUB_KEY, "index.docker.io", "registry-1.docker.io")


def _normal(key: str) -> str:
    """Return the name of an entry without what Docker puts around a host."""
    bare = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return bare.removesuffix("/v1").removesuffix("/v2")


def _login(entry: Mapping[str, Any]) -> Login | None:
    username, password = _text(entry.get("username")), _text(entry.get("password"))
    if auth := _text(entry.get("auth")):
        try:
            decoded = base64.b64decode(auth, validate=True).decode()
        except (binascii.Error, ValueError):
            return None
        username, _, password = decoded.rstrip("\0").partition(":")
    login = Login(
        username=username,
        password=password,
        identity_token=_text(entry.get("identitytoken")),
        registry_token=_text(entry.get("registrytoken")),
    )
    has_any = login.password or login.identity_token or login.registry_token
    return login if has_any else None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        _log.warning("cannot read %s: %s", file, error.strerror)
        return None
    try:
        return _mapping(json.loads(content))
    except (ValueError, RecursionError):
        _log.warning("ignoring %s: it is not JSON", file)
        return None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
