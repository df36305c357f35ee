"""A real registry: Debian's ``docker-registry``, on a loopback port, in a directory of the test.

The program is the installed one, or comes from the Debian package, unpacked into the cache of the
tests. Several registries may serve the same storage.
"""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from support import debian_packages
from support.waiting import eventually

PROGRAM = "docker-registry"
USER = "reader"
# What has a meaning in URLs, in headers and in docker's base64 of both is in it.
PASSWORD = "pass:word%20+"
_BCRYPT = "$2b$05$abcdefghijklmnopqrstuuvxhM0aDNMy6clmzDuaazG/CJj87G0Lq"
_LISTENS = re.compile(r"listening on [^ ]*?:(?P<port>\d+)")


@dataclass(frozen=True)
class Registry:
    """A registry that runs."""

    port: int
    storage: Path
    log: Path
    credentials: tuple[str, str] | None = None
    name: str = "localhost"

    @property
    def host(self) -> str:
        """How image references begin."""
        return f"{self.name}:{self.port}"

    @property
    def url(self) -> str:
        """The address of the API, unless it is encrypted."""
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> httpx.Client:
        """Return a client with the credentials."""
        return httpx.Client(base_url=self.url, auth=self.credentials, trust_env=False, timeout=120)

    def remove_tag(self, repository: str, digest: str) -> None:
        """Delete a manifest, and with it its tags."""
        with self.client() as client:
            answer = client.delete(f"/v2/{repository}/manifests/{digest}")
            assert answer.status_code == 202, answer.text


@contextlib.contextmanager
def registries(
    storage: Path | None = None,
    *,
    protected: bool = False,
    token_realm: str | None = None,
    token_certificate: Path | None = None,
    encrypted_at: str | None = None,
) -> Iterator[Registry]:
    """Run a registry, with a storage of its own unless one is named.

    A ``protected`` one wants ``USER`` and ``PASSWORD``. With ``token_realm`` it wants tokens
    from there, signed by the key of ``token_certificate``. ``encrypted_at`` is an address of this
    machine on which it speaks HTTPS, with a certificate that only ``tls.crt`` beside its log
    confirms.
    """
    program = find_program()
    with tempfile.TemporaryDirectory(prefix="sqlrs-test-registry-") as place:
        root = Path(place)
        auth: dict[str, object] = {}
        if protected:
            (root / "htpasswd").write_text(f"{USER}:{_BCRYPT}\n")
            auth = {"htpasswd": {"realm": "tests", "path": str(root / "htpasswd")}}
        if token_realm is not None:
            auth = {
                "token": {
                    "realm": token_realm,
                    "service": "tests",
                    "issuer": "tests",
                    "rootcertbundle": str(token_certificate),
                }
            }
        tls = {} if encrypted_at is None else {"tls": _certificate(root, encrypted_at)}
        config = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(storage or root / "storage")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"{encrypted_at or '127.0.0.1'}:0", "secret": "tests", **tls},
            **({"auth": auth} if auth else {}),
        }
        (root / "config.yml").write_text(json.dumps(config))  # JSON is YAML
        log = root / "registry.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [program, "serve", str(root / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=root,
            )
        try:
            yield Registry(
                _port(process, log),
                storage or root / "storage",
                log,
                (USER, PASSWORD) if protected else None,
                encrypted_at or "localhost",
            )
        finally:
            process.kill()
            process.wait()


def _certificate(directory: Path, address: str) -> dict[str, str]:
    """Make a certificate for an address; return its files as the registry's settings."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    files = {"certificate": str(directory / "tls.crt"), "key": str(directory / "tls.key")}
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tests"]
    command += ["-days", "30", "-addext", f"subjectAltName=IP:{address}"]
    command += ["-out", files["certificate"], "-keyout", files["key"]]
    subprocess.run(command, check=True, capture_output=True)
    return files


def find_program() -> Path:
    """Return the registry's program; skip the test when it can't be had."""
    installed = shutil.which(PROGRAM)
    if installed is not None:
        return Path(installed)
    return debian_packages.unpacked(PROGRAM) / "usr/bin" / PROGRAM


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the port, which the registry chooses and writes to its log."""

    def listens() -> re.Match[str] | None:
        if process.poll() is not None:
            pytest.fail(f"the registry has ended:\n{log.read_text()}")
        return _LISTENS.search(log.read_text())

    eventually(listens, "a registry that listens")
    found = listens()
    assert found is not None
    return int(found["port"])
