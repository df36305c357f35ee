"""The pg_dump to use: of the server's major version or the next newer one, with TLS if needed."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from sqlrs_engine.errors import ImageUnavailable
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.majors import NEWEST_MAJOR, OLDEST_MAJOR

PROGRAM = "pg_dump"

_VERSION = re.compile(rb"\(PostgreSQL\) (\d+)")
_NO_TLS = b"SSL support is not compiled in"
_SECONDS = 20


def choose(
    distributions: Iterable[Distribution],
    search_path: str,
    major: int,
    *,
    tls: bool,
) -> Path:
    """Return a pg_dump for a server of a major version.

    ``distributions`` are best first; ``search_path`` is a ``PATH``. ``tls`` is whether the
    connection has to be encrypted, which not every build can do. Raises ImageUnavailable.
    """
    fitting = [each for each in _programs(distributions, search_path) if each[0] >= major]
    for _, program in sorted(fitting, key=lambda each: each[0]):
        if not tls or _has_tls(program):
            return program
    raise _unavailable(major, lacks_tls=bool(fitting))


def _programs(
    distributions: Iterable[Distribution], search_path: str
) -> Iterator[tuple[int, Path]]:
    """Yield programs with their major versions: root runs none of an image."""
    for each in distributions:
        if each.origin != "image" or os.geteuid() != 0:
            program = each.bin_dir / PROGRAM
            if os.access(program, os.X_OK):
                yield each.major, program
    found = shutil.which(PROGRAM, path=search_path) if search_path else None
    if found and (major := _major_of(Path(found))):
        yield major, Path(found)


def _major_of(program: Path) -> int | None:
    found = _VERSION.search(_output(program, ["--version"], {}))
    return int(found[1]) if found else None


def _has_tls(program: Path) -> bool:
    # It says so before it connects, whatever it connects to.
    nowhere = {"PGHOST": "/nonexistent", "PGSSLMODE": "require"}
    return _NO_TLS not in _output(program, ["--no-password"], nowhere)


def _output(program: Path, arguments: list[str], environ: Mapping[str, str]) -> bytes:
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"LC_ALL": "C", **environ},
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout


def _unavailable(major: int, *, lacks_tls: bool) -> ImageUnavailable:
    if major > NEWEST_MAJOR:
        return ImageUnavailable(
            f"no pg_dump for PostgreSQL {major} on this machine: install the package "
            f"postgresql-client-{major}",
            "pg_dump refuses servers of a newer major version; sqlrs-engine postgres install "
            f"knows versions up to {NEWEST_MAJOR}",
        )
    wanted = max(major, OLDEST_MAJOR)
    reason = (
        "the connection is encrypted (TLS), and the pg_dump of this version cannot do that"
        if lacks_tls
        else "pg_dump refuses servers of a newer major version than its own"
    )
    return ImageUnavailable(
        f"no pg_dump for PostgreSQL {major} on this machine: run sqlrs-engine postgres install "
        f"{wanted}",
        reason,
    )
