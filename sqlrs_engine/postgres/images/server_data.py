"""What a server finds relative to its program, and what its image says about extensions."""

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from .root_tree import RootTree, read

_CATALOG = "postgres.bki"
_A_MODULE = "dict_snowball.so"  # initdb needs it
_SCRIPTS = "/docker-entrypoint-initdb.d"
_SCRIPT = re.compile(r".*\.(sh|sql|sql\.gz|sql\.xz|sql\.zst)")
_CONTROL = re.compile(r".*\.control")
# Relative to the directory of the programs, if these were moved after they had been built.
_NEAR = ("../lib", "../lib/postgresql", "../lib64/postgresql", "../share", "../share/postgresql")
_DIRECTORY = re.compile(rb"\0(/[\x20-\x7e]{1,250})(?=\0)")
_MAX_DIRECTORIES = 10_000


@dataclass(frozen=True, slots=True)
class ServerData:
    """The directories that a server was built for: of its libraries, and of all other data."""

    libraries: PurePosixPath
    share: PurePosixPath


def find_data(tree: RootTree, server: Path) -> ServerData | None:
    """Return the directories that a server names or has near, None when one of them is missing."""
    matches = islice(_DIRECTORY.finditer(read(server)), _MAX_DIRECTORIES)
    names = [*dict.fromkeys(match[1].decode("ascii") for match in matches)]
    names += [f"{tree.name(server).parent}/{each}" for each in _NEAR]
    libraries = next((each for each in names if tree.file(f"{each}/{_A_MODULE}")), None)
    share = next((each for each in names if tree.file(f"{each}/{_CATALOG}")), None)
    if libraries is None or share is None:
        return None
    return ServerData(PurePosixPath(libraries), PurePosixPath(share))


def extensions(tree: RootTree, data: ServerData) -> tuple[str, ...]:
    """Return the names of the extensions that have a control file."""
    files = tree.files(data.share / "extension", _CONTROL)
    return tuple(name.removesuffix(".control") for name, _ in files)


def initdb_scripts(tree: RootTree) -> tuple[str, ...]:
    """Return the files that the image's entry point runs in a new cluster, in that order."""
    place = tree.directory(_SCRIPTS)
    if place is None:
        return ()
    names = [name for name, _ in tree.files(_SCRIPTS, _SCRIPT)]
    return tuple(f"{place.relative_to(tree.root)}/{name}" for name in names)
