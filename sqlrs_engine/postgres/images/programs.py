"""The PostgreSQL of an image, as something that runs: what ``image.json`` keeps of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePrograms:
    """The programs of an image.

    ``bin_dir`` is relative to the root file system and holds runnable ``postgres``, ``initdb``,
    ``psql`` and so on. ``banner`` is what ``postgres --version`` prints, ``version`` like ``17.2``.
    ``extensions`` are the names of the control files, sorted; ``initdb_scripts`` the files of
    ``/docker-entrypoint-initdb.d``, relative to the root file system, in the order in which they
    run. ``locale`` is the one that the image sets for its programs, None for the C locale.
    """

    bin_dir: PurePosixPath
    banner: str
    version: str
    major: int
    extensions: tuple[str, ...] = ()
    initdb_scripts: tuple[str, ...] = ()
    locale: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can keep."""
        return asdict(self) | {"bin_dir": str(self.bin_dir)}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Self:
        """Return what ``as_dict`` was made of. Raises TypeError, ValueError or KeyError."""
        lists = {name: tuple(value) for name, value in kept.items() if isinstance(value, list)}
        return cls(**{**kept, **lists, "bin_dir": PurePosixPath(kept["bin_dir"])})
