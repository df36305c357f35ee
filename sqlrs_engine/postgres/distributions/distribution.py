"""A set of PostgreSQL programs, and its image id."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .image_names import ENGINE

Origin = Literal["wheel", "installed", "system", "image"]

INITDB_FORMAT = 1
"""Raised whenever the way clusters are initialised changes what they contain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """The scripts that an image runs in a new cluster, in order, and its environment variables."""

    scripts: tuple[Path, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A set of server and client programs of one version.

    ``image_id`` is ``postgres@sha256:<64 hex>``; ``version`` is like ``15.18``.
    ``library_dirs`` are outside the distribution's own directory; the programs find them
    relative to it, so a copy needs them too. ``origin``: in a Python package (wheel),
    downloaded by the engine (installed), the machine's own (system), or in an image of a registry
    (image). ``extensions`` are the names that ``CREATE EXTENSION`` knows, sorted; ``additions`` is
    a directory with those that its own build lacks, ``fetched`` the one of those that are
    downloaded when a step needs them, which may not exist yet (``additions.py``). ``locale`` is the
    name of the C library's locale in which it makes clusters unless another is wanted; None leaves
    the choice to the engine. ``clients`` is the directory of a distribution of this machine: root
    runs its client programs, not those of an image.
    """

    image_id: str
    version: str
    major: int
    bin_dir: Path
    library_dirs: tuple[Path, ...] = ()
    origin: Origin = "system"
    extensions: tuple[str, ...] = ()
    additions: Path | None = None
    fetched: Path | None = None
    locale: str | None = None
    entry_point: EntryPoint | None = None
    clients: Path | None = None

    @property
    def root(self) -> Path:
        """The directory that holds ``bin`` and, unless it is the system's, all the rest."""
        return self.bin_dir.parent


def image_id(banner: str, build: str) -> str:
    """Return the image id, of all that determines behaviour.

    ``banner`` is what ``postgres --version`` prints, ``build`` the SHA-256 of the server
    program in hexadecimal.
    """
    return _id({"version": banner, "build": build})


def image_id_of(digest: str) -> str:
    """Return the image id of an image of a registry: ``digest`` is that of its manifest."""
    return _id({"image": digest})


def _id(facts: dict[str, str]) -> str:
    identity = {"engine": ENGINE, **facts, "initdb": INITDB_FORMAT}
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{ENGINE}@sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
