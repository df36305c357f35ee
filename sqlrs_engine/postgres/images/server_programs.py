"""The PostgreSQL programs in an image: which of several, and which version."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlrs_engine.errors import ImageUnusable
from sqlrs_engine.postgres.majors import OLDEST_MAJOR

from .elf import Elf
from .root_tree import RootTree, read

SERVER = "postgres"

_PATTERNS = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/libexec/postgresql*",
    "/opt/bitnami/postgresql/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
    "/usr/bin",
)
_NUMBER = re.compile("[0-9]{1,4}")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BANNER = re.compile(rb"postgres \(PostgreSQL\) ((\d+)(?:\.\d+|beta\d+|rc\d+|devel)?)[^\0]{0,200}")

# What comes with the server or with its best-known extensions. A directory such as /usr/bin has
# programs that are none of PostgreSQL's.
_NAMES = re.compile(
    r"(create|drop)(db|user)|(cluster|reindex|vacuum)db|vacuumlo|oid2name|initdb|post(gres|master)"
    r"|psql|pg.*|.*pgsql.*"
)


@dataclass(frozen=True, slots=True)
class ServerPrograms:
    """The programs of one PostgreSQL.

    ``paths`` has the programs by name, ELF files all, without links. ``banner`` is what
    ``postgres --version`` prints.
    """

    paths: Mapping[str, Path]
    banner: str
    version: str
    major: int

    @property
    def server(self) -> Path:
        """The server."""
        return self.paths[SERVER]


def find_programs(tree: RootTree, environment: Mapping[str, str]) -> ServerPrograms:
    """Return the PostgreSQL that an image means by its variables ``PATH`` and ``PG_MAJOR``.

    Failing these, the newest. Raises ImageUnusable when there is none, or none that is supported.
    """
    found = [
        programs
        for directory in _directories(tree, environment)
        if (programs := _programs(tree, directory)) is not None
    ]
    if not found:
        raise ImageUnusable(
            "the image has no PostgreSQL server: use one of the images that do, such as"
            " postgres:17",
            "there is no program postgres with an initdb beside it, neither in its PATH nor in the"
            " usual places",
        )
    wanted = environment.get("PG_MAJOR")
    chosen = next((each for each in found if str(each.major) == wanted), found[0])
    if "psql" not in chosen.paths:
        raise ImageUnusable(
            "the image has no psql, which runs scripts: use one of the images that do, such as"
            " postgres:17",
            f"there is none beside {tree.name(chosen.server)}",
        )
    if chosen.major < OLDEST_MAJOR:
        raise ImageUnusable(
            f"the image has PostgreSQL {chosen.version}, and {OLDEST_MAJOR} is the oldest that is"
            " supported: use an image of a newer version",
            chosen.banner,
        )
    return chosen


def _directories(tree: RootTree, environment: Mapping[str, str]) -> Iterator[PurePosixPath]:
    """Yield the directories with a server, those of the PATH first, then the newest version."""
    seen: set[Path] = set()
    path = environment.get("PATH", _DEFAULT_PATH).split(":")
    usual = [each for pattern in _PATTERNS for each in sorted(tree.glob(pattern), key=_newest)]
    for directory in (*(PurePosixPath(each) for each in path if each.startswith("/")), *usual):
        server = tree.file(directory / SERVER)
        if server is not None and server.parent not in seen:
            seen.add(server.parent)
            yield tree.name(server.parent)


def _newest(directory: PurePosixPath) -> int:
    """Return the sorting key of directories whose names have the major version."""
    return -max((int(each) for each in _NUMBER.findall(str(directory))), default=0)


def _programs(tree: RootTree, directory: PurePosixPath) -> ServerPrograms | None:
    """Return the programs in a directory; None when there is no server that can be relocated."""
    paths = {name: path for name, path in tree.files(directory, _NAMES) if _is_dynamic(path)}
    banner = _banner(paths[SERVER]) if SERVER in paths else None
    if banner is None or "initdb" not in paths:
        return None
    return ServerPrograms(
        paths=paths,
        banner=banner[0].decode("ascii", "replace").strip(),
        version=banner[1].decode("ascii"),
        major=int(banner[2]),
    )


def _is_dynamic(path: Path) -> bool:
    elf = Elf.read(path)
    return elf is not None and elf.interpreter is not None


def _banner(server: Path) -> re.Match[bytes] | None:
    return _BANNER.search(read(server))
