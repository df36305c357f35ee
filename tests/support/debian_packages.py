"""Debian packages for tests: downloaded once per machine, never installed.

``apt-get`` finds and checks them; it needs no root, only its lists of packages, which
``apt-get update`` makes. The packages stay in the user's cache, so that the next run
downloads nothing.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_SECONDS = 300
_PLANNED = re.compile(r"Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<architecture>\w+)\]\)")


def cache() -> Path:
    """Return the directory that keeps packages from run to run."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sqlrs-engine-tests"


def closure(*packages: str) -> list[Path]:
    """Return the package files of these packages and of everything they depend on.

    Skips the test where they can't be had.
    """
    with _locked() as root:
        archives, nothing_installed = root / "packages", root / "status"
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        nothing_installed.touch()
        options = {
            "Debug::NoLocking": "1",
            "APT::Sandbox::User": "",  # downloads happen as the user of the tests
            "Acquire::Retries": "2",
            "Dir::State::status": str(nothing_installed),
            "Dir::Cache::archives": str(archives),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
        }
        command = ["--no-install-recommends", "-y", "-qq", "install", *packages]
        command += [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        plan = _apt_get("--simulate", *command, folder=root)
        files = [
            archives
            / f"{each['name']}_{each['version']}_{each['architecture']}.deb".replace(":", "%3a")
            for each in _PLANNED.finditer(plan)
        ]
        if not all(file.exists() for file in files):
            _apt_get("--download-only", *command, folder=root)
        return files


def unpacked(package: str) -> Path:
    """Return a directory with the files of one package, without what it depends on."""
    with _locked() as root:
        place = root / "unpacked" / package
        if not place.exists():
            place.parent.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
                _apt_get("-qq", "download", package, folder=Path(scratch))
                (file,) = Path(scratch).glob("*.deb")
                target = Path(scratch) / "files"
                subprocess.run(["dpkg-deb", "-x", file, target], check=True)
                target.rename(place)
        return place


def _apt_get(*arguments: str, folder: Path) -> str:
    program = shutil.which("apt-get")
    if program is None:
        pytest.skip("Debian packages are needed, and there is no apt-get")
    command = [program, *arguments]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"Debian packages can't be downloaded: no answer within {_SECONDS} s")
    if done.returncode != 0:
        pytest.skip(f"Debian packages can't be downloaded: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def _locked() -> Iterator[Path]:
    root = cache()
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield root
