"""Migration tools from their registries, installed once per version in the user's cache.

What cannot be reached is skipped; an installation that fails for another reason fails the test.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support import debian_packages

_SECONDS = 300
_UNREACHABLE = re.compile(
    r"E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH)"
    r"|NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError"
)
_OLDEST_NODE = 20
_QUIET = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_ignore_scripts": "true",
    "npm_config_prefer_offline": "true",
    "npm_config_update_notifier": "false",
}


def python_environment(requirements: Path) -> Path:
    """Return a virtual environment with what a ``requirements.txt`` lists."""

    def make(place: Path) -> None:
        _install([sys.executable, "-m", "venv", "--without-pip", place], place.parent)
        python = place / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--quiet", "--python", python]
        _install([*pip, "install", "--requirement", requirements], place.parent)

    return _made("python", platform.python_version() + requirements.read_text(), make)


def node_packages(package_json: Path) -> Path:
    """Return a directory with the ``node_modules`` and the ``package-lock.json`` for a project."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not installed")
    version = _output("node", "--version")
    if int(version.removeprefix("v").partition(".")[0]) < _OLDEST_NODE:
        pytest.skip(f"the tools need Node {_OLDEST_NODE} or newer, not {version}")

    def make(place: Path) -> None:
        place.mkdir()
        shutil.copy(package_json, place)
        _install(["npm", "install"], place)

    return _made("node", package_json.read_text(), make)


def debian_files(*packages: str) -> Path:
    """Return a directory with the files of Debian packages and of all that they depend on."""
    archives = debian_packages.closure(*packages)

    def make(place: Path) -> None:
        place.mkdir()
        for archive in archives:
            _install(["dpkg-deb", "--extract", archive, place], place)

    return _made("debian", " ".join(archive.name for archive in archives), make)


def run_from(root: Path, *program: str, **environ: str) -> str:
    """Return a shell script that runs a program of ``debian_files`` with the libraries there."""
    (loader,) = root.glob("lib64/ld-*.so*") or root.glob("lib/ld-*.so*")
    triplet = f"{platform.machine()}-linux-gnu"
    libraries = f"{root}/lib/{triplet}:{root}/usr/lib/{triplet}"
    exports = "".join(f"export {name}='{value}'\n" for name, value in environ.items())
    command = " ".join(program)
    return f'#!/bin/sh\n{exports}exec {loader} --library-path {libraries} {command} "$@"\n'


def _made(kind: str, recipe: str, make: Callable[[Path], None]) -> Path:
    """Return the place of an installation, which ``make`` makes unless it was made before."""
    key = hashlib.sha256(recipe.encode()).hexdigest()[:16]
    tools = debian_packages.cache() / "tools"
    place, complete = tools / f"{kind}-{key}", tools / f"{kind}-{key}.complete"
    with _locked(tools / f"{kind}-{key}.lock"):
        if not complete.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            complete.touch()
    return place


def _install(command: list[str | Path], cwd: Path) -> None:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **_QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    output = done.stdout + done.stderr
    if done.returncode != 0 and _UNREACHABLE.search(output):
        pytest.skip("the package registry cannot be reached")
    assert done.returncode == 0, output[-5_000:]


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
