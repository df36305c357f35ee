"""Libraries out of Debian packages, without root and without installing anything.

``apt-get`` downloads a package from the machine's own sources and checks its signature; only the
library is taken out of it.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from .libraries import package_of

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECONDS = 120
_SIGNED = ("-o", "APT::Get::AllowUnauthenticated=false", "-o", "Acquire::Retries=1")
# Packages of 64-bit time on 32-bit machines, named so everywhere since Debian 13.
_SUFFIXES = ("", "t64")

Tell = Callable[[str], None]


def fetch_library(library: str, directory: Path, tell: Tell, *, path: str = _PATH) -> bool:
    """Put a library, named as programs ask for it, into ``directory``; return whether it was found.

    ``path`` is where the tools of Debian are, a seam for tests.
    """
    package = package_of(library)
    apt, dpkg = (shutil.which(name, path=path) for name in ("apt-get", "dpkg-deb"))
    # Python is of no use without its standard library.
    if package is None or package.startswith("libpython") or apt is None or dpkg is None:
        return False
    with tempfile.TemporaryDirectory(prefix="sqlrs-engine-apt-") as workspace:
        file = _download(apt, package, Path(workspace))
        if file is None:
            return False
        content = _library_in(file, library, dpkg)
        if content is None:
            return False
    target = directory / library
    target.write_bytes(content)
    target.chmod(0o644)
    tell(f"{library} comes from the Debian package {file.name}")
    return True


def _download(apt: str, package: str, workspace: Path) -> Path | None:
    """Return the file of a package; package lists of our own are used when the machine has none."""
    lists = workspace / "lists"
    (lists / "partial").mkdir(parents=True)
    own_lists = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={workspace}")
    for options in ((), own_lists):
        if options and not _ran([apt, "-qq", *_SIGNED, *options, "update"], workspace):
            return None
        for suffix in _SUFFIXES:
            command = [apt, "-qq", "--yes", *_SIGNED, *options, "download", package + suffix]
            if _ran(command, workspace):
                return next(iter(workspace.glob("*.deb")), None)
    return None


def _ran(command: Sequence[str], directory: Path) -> bool:
    try:
        answer = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0


def _library_in(package: Path, library: str, dpkg: str) -> bytes | None:
    """Return the content of a library in a package, whose name may be a link to its file."""
    try:
        answer = subprocess.run(
            [dpkg, "--fsys-tarfile", package],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
        with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
            members = {PurePosixPath(each.name).name: each for each in archive}
            found = members.get(library)
            if found is not None and found.issym():
                found = members.get(PurePosixPath(found.linkname).name)
            content = archive.extractfile(found) if found and found.isreg() else None
            return content.read() if content else None
    except (OSError, subprocess.SubprocessError, tarfile.TarError):
        return None
