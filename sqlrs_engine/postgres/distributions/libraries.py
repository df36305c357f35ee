"""The shared libraries of the machine that downloaded programs need."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

_MISSING = re.compile(r"^\s*(\S+) => not found", re.MULTILINE)
_TOO_OLD = re.compile(r"version `(GLIBC\w*_[\d.]+)' not found")
_TIMEOUT_SECONDS = 60

# Packages whose names are not the library's name with its version, Debian's usual rule.
_PACKAGES = {
    "libcrypto.so.3": "libssl3",
    "libxml2.so.2": "libxml2",
    "libxslt.so.1": "libxslt1.1",
    "libz.so.1": "zlib1g",
}
_SONAME = re.compile(r"(?P<name>[\w+.-]+?)\.so\.(?P<version>\d+)")
_ICU = re.compile(r"libicu[a-z0-9]+\.so\.(\d+)")
_PYTHON = re.compile(r"(libpython\d\.\d+)\.so")


def missing_libraries(files: Iterable[Path]) -> list[str]:
    """Return the libraries that programs or libraries need and the machine lacks.

    A C library that is too old appears as the version needed, such as ``GLIBC_2.38``.
    Without ``ldd`` the result is empty.
    """
    try:
        answer = subprocess.run(
            ["ldd", *files],  # noqa: S607 - where it lies differs
            env={"LANG": "C", "PATH": "/usr/local/bin:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return sorted({*_MISSING.findall(answer.stdout), *_TOO_OLD.findall(answer.stdout)})


def how_to_get(libraries: Iterable[str]) -> str:
    """Return how to install missing libraries, empty when no package is known."""
    packages = sorted({package for each in libraries if (package := package_of(each))})
    return f"on Debian or Ubuntu: apt-get install {' '.join(packages)}" if packages else ""


def package_of(library: str) -> str | None:
    """Return the Debian package of a library, None when it is not known."""
    if library in _PACKAGES:
        return _PACKAGES[library]
    if match := _ICU.fullmatch(library):
        return f"libicu{match[1]}"
    if match := _PYTHON.match(library):
        return match[1]
    if match := _SONAME.match(library):
        name = match["name"].replace("_", "-").lower()
        return f"{name}-{match['version']}" if name[-1].isdigit() else f"{name}{match['version']}"
    return None
