"""The client programs that restore dumps: whose pg_restore or psql, of those at hand."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import DumpUnusable
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.launcher import File, Popen

from .archive import MAGIC, Header

_PROBE_SECONDS = 30.0
_UNSUPPORTED = b"does not support compression"
_OPTIONAL = {"lz4": 2, "zstd": 3}
# pg_restore 17 and later begin with a setting that older servers lack.
_SETS_TIMEOUT = 17
# The first minor versions whose psql has \restrict, by major version.
_RESTRICT = {14: 19, 15: 14, 16: 10, 17: 6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that restores a dump.

    ``distribution`` is whose program it is, None for that of the cluster. With ``by_script``,
    pg_restore writes a script for psql instead of connecting to the server.
    """

    program: str
    major: int
    distribution: Distribution | None
    by_script: bool = False

    @property
    def name(self) -> str:
        """The name and the major version, such as ``pg_restore 17``."""
        return f"{self.program} {self.major}"

    def start(
        self, cluster: Cluster, arguments: Sequence[str], stderr: File = subprocess.STDOUT
    ) -> Popen:
        """Start the program with a pipe for its output, set to connect to a cluster."""
        return cluster.client(
            self.program,
            arguments,
            port=None,
            distribution=self.distribution,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )


class Tools:
    """Finds the programs for dumps; remembers what their builds can decompress. Thread-safe."""

    def __init__(self, installed: Callable[[], Sequence[Distribution]]) -> None:
        """``installed`` returns the distributions of this machine, best first."""
        self._installed = installed
        self._decompresses: dict[tuple[Path, str, str], bool] = {}

    def for_archive(self, own: Distribution, header: Header) -> Tool:
        """Return the pg_restore for an archive: that of the image's distribution if it can.

        Otherwise that of the next major version that can. Raises DumpUnusable if there is none.
        """
        needed = max(header.reader, own.major)
        found = [each for each in self._clients(own, "pg_restore") if each.major >= needed]
        able = (each for each in found if self._can_decompress(each, header.compression))
        chosen = next(able, None)
        if chosen is None:
            lack = f"decompresses {header.compression}" if found else "reads it"
            raise DumpUnusable(
                f"no pg_restore at hand {lack}: run sqlrs-engine postgres install {needed}",
                f"the dump was made by pg_dump {header.made_by} (archive version "
                f"{header.version[0]}.{header.version[1]}, compression {header.compression}) and "
                f"the image is of PostgreSQL {own.major}",
            )
        return Tool(
            program="pg_restore",
            major=chosen.major,
            distribution=chosen,
            by_script=chosen.major >= _SETS_TIMEOUT > own.major,
        )

    def for_script(self, own: Distribution, *, restricts: bool) -> Tool:
        r"""Return the psql for a plain dump: the image's, or the newest if the dump needs that.

        Raises DumpUnusable when none knows ``\restrict``.
        """
        if not restricts or _knows_restrict(own):
            return Tool(program="psql", major=own.major, distribution=None)
        newest = sorted(self._installed(), key=lambda each: each.major, reverse=True)
        for each in newest:
            if _knows_restrict(each) and (each.bin_dir / "psql").is_file():
                return Tool(program="psql", major=each.major, distribution=each)
        raise DumpUnusable(
            f"no psql at hand knows \\restrict: run sqlrs-engine postgres install {own.major}, or "
            "take the lines that begin with \\restrict and \\unrestrict out of the dump",
            f"the image is of PostgreSQL {own.version}",
        )

    def _clients(self, own: Distribution, program: str) -> Iterator[Distribution]:
        """Yield the distributions with a program: the image's own first, then by major version."""
        installed = self._installed()
        first: Distribution | None = own
        if own.origin == "image" and os.geteuid() == 0:
            # Root runs no program of an image.
            first = next((each for each in installed if each.bin_dir == own.clients), None)
        others = sorted(
            (each for each in installed if each.major >= own.major and each != first),
            key=lambda each: each.major,
        )
        for each in (*((first,) if first else ()), *others):
            if (each.bin_dir / program).is_file():
                yield each

    def _can_decompress(self, distribution: Distribution, compression: str) -> bool:
        if compression not in _OPTIONAL:
            return True
        key = distribution.bin_dir, distribution.image_id, compression
        if key not in self._decompresses:
            self._decompresses[key] = _decompresses(distribution.bin_dir, _OPTIONAL[compression])
        return self._decompresses[key]


def _decompresses(bin_dir: Path, compression: int) -> bool:
    """Return whether a pg_restore of 16 or later can decompress: it says so of an empty archive."""
    integer = bytes(5)
    times, texts, entries = integer * 7, integer * 3, integer
    archive = MAGIC + bytes((1, 15, 0, 4, 8, 1, compression)) + times + texts + entries
    ran = subprocess.run(
        [bin_dir / "pg_restore", "--list"],
        input=archive,
        capture_output=True,
        check=False,
        timeout=_PROBE_SECONDS,
        cwd="/",
        env={"PATH": os.defpath, "LANG": "C.UTF-8"},
    )
    return ran.returncode == 0 and _UNSUPPORTED not in ran.stderr


def _knows_restrict(distribution: Distribution) -> bool:
    numbers = [int(each) for each in re.findall(r"\d+", distribution.version)]
    minor = numbers[1] if len(numbers) > 1 else 0
    return distribution.major > max(_RESTRICT) or minor >= _RESTRICT.get(distribution.major, 0)
