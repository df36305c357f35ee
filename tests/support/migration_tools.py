"""Migration tools from their registries, installed once per version in the user's cache.

What cannot be reached is skipped; an installation that fails for another reason fails the test.
"""

import contextlib
import fcntl
import functools
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
_TRIPLET = f"{platform.machine()}-linux-gnu"
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
        _install([sys.executable, "-m", "venv", place], place.parent)
        # Isolated, since pip takes what PYTHONPATH leads to for installed.
        pip = [place / "bin" / "python", "-I", "-m", "pip", "--quiet"]
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


@functools.cache
def sqitch() -> Path:
    """Return a directory with ``sqitch`` and ``psql``."""

    def wrap(root: Path) -> dict[str, str]:
        lib = f"{root}/usr/lib/{_TRIPLET}"
        (modules,) = root.glob("usr/share/perl/5.*.*")
        version = modules.name.rpartition(".")[0]
        search = [f"{root}/etc/perl", f"{root}/usr/share/perl5", f"{lib}/perl5/{version}"]
        search += [f"{lib}/perl/{version}", f"{root}/usr/share/perl/{version}", f"{lib}/perl-base"]
        (psql,) = root.glob("usr/lib/postgresql/*/bin/psql")
        perl = f"{root}/usr/bin/perl -CAS {root}/usr/bin/sqitch"
        return {
            "sqitch": _script(root, perl, PERL5LIB=":".join(search)),
            "psql": _script(root, str(psql)),
        }

    return _debian_programs(["sqitch", "libdbd-pg-perl"], wrap)


@functools.cache
def rails() -> Path:
    """Return a directory with a ``ruby`` that has Rails' Active Record and ``pg``."""

    def wrap(root: Path) -> dict[str, str]:
        lib, common = f"{root}/usr/lib/{_TRIPLET}", f"{root}/usr/lib/ruby"
        (modules,) = root.glob("usr/lib/ruby/[0-9]*")
        version = modules.name
        search = [f"{common}/vendor_ruby", f"{lib}/ruby/vendor_ruby/{version}"]
        search += [f"{common}/{version}", f"{lib}/ruby/{version}"]
        gems = [f"{root}/usr/share/rubygems-integration/{each}" for each in ("all", version)]
        gems += [f"{lib}/rubygems-integration/{version}", f"{common}/gems/{version}"]
        variables = {"RUBYLIB": ":".join(search), "GEM_PATH": ":".join(gems)}
        return {"ruby": _script(root, f"{root}/usr/bin/ruby", **variables)}

    return _debian_programs(["ruby-railties", "ruby-activerecord", "ruby-pg"], wrap)


def _debian_programs(packages: list[str], wrap: Callable[[Path], dict[str, str]]) -> Path:
    """Unpack packages and all they depend on; return a directory with scripts to run them."""
    archives = debian_packages.closure(*packages)

    def make(place: Path) -> None:
        place.mkdir()
        for archive in archives:
            _install(["dpkg-deb", "--extract", archive, place], place)
        (place / "wrapped").mkdir()
        for name, script in wrap(place).items():
            program = place / "wrapped" / name
            program.write_text(script)
            program.chmod(0o755)

    return _made("debian", " ".join(archive.name for archive in archives), make) / "wrapped"


def _script(root: Path, command: str, **environ: str) -> str:
    """Return a shell script that runs a program with the unpacked loader and libraries."""
    loader = next(root.glob("lib*/ld-linux*.so*"))
    libraries = f"{root}/lib/{_TRIPLET}:{root}/usr/lib/{_TRIPLET}"
    exports = "".join(f"export {name}={value}\n" for name, value in environ.items())
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
