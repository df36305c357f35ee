"""The paths below the root of a state store.

::

    engines/<engine>/<digest>/bases/<base id>    the image's empty clusters
    engines/<engine>/<digest>/states/<state id>  published states
    instances/<instance id>                      clones with a server
    work/<run>-<random>                          under construction
    trash/<run>-<random>                         being deleted
    set-aside/…                                  out of use, under the paths they had
    dumps/…                                      kept dumps (``sqlrs_engine.dumps``)

Each of these is a *container*: a directory with the engine's marker, the cluster's data directory
``data`` and, while a server uses it, its log. ``run`` names one run of an engine: what an earlier
run left in ``work`` and ``trash`` is not needed.
"""

import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from sqlrs_engine import ids
from sqlrs_engine.errors import InvalidArgument, StoreDamaged

MARKER = ".sqlrs-container"
DATA = "data"

_IMAGE_ID = re.compile(r"([a-z0-9][a-z0-9._-]*)@sha256:([0-9a-f]{64})")


def data_dir(container: Path) -> Path:
    """Return the data directory (``PGDATA``) of a container."""
    return container / DATA


class Layout:
    """The paths of one store in one run of an engine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work = root / "work"
        self.trash = root / "trash"
        self._run = secrets.token_hex(8)

    def check(self) -> None:
        """Raise StoreDamaged when something other than a directory is in the place of one."""
        for name in ("engines", "instances", "dumps", "work", "trash", "set-aside"):
            place = self.root / name
            if os.path.lexists(place) and not place.is_dir():
                raise StoreDamaged(
                    "a file is in the place of a directory of the state store: move it away",
                    str(place),
                )

    def base_dir(self, image_id: str, base_id: str) -> Path:
        """Return the container of an empty cluster of an image."""
        if not ids.is_state_id(base_id):
            raise InvalidArgument("invalid base id: write 64 hexadecimal digits", base_id)
        return self._image_dir(image_id) / "bases" / base_id

    def base_dirs(self) -> Iterator[Path]:
        """Yield the empty clusters of all images."""
        yield from self.root.glob("engines/*/*/bases/*")

    def former_base_dirs(self) -> Iterator[Path]:
        """Yield the empty clusters of earlier versions, which had one per image."""
        yield from self.root.glob("engines/*/*/base")

    def state_dir(self, image_id: str, state_id: str) -> Path:
        """Return the container of a state."""
        if not ids.is_state_id(state_id):
            raise InvalidArgument("invalid state id: write 64 hexadecimal digits", state_id)
        return self._image_dir(image_id) / "states" / state_id

    def state_dirs(self) -> Iterator[Path]:
        """Yield the containers of all published states; their names are the ids."""
        for path in self.root.glob("engines/*/*/states/*"):
            if ids.is_state_id(path.name):
                yield path

    def instance_dir(self, instance_id: str) -> Path:
        """Return the container of an instance."""
        if not ids.is_instance_id(instance_id):
            raise InvalidArgument("invalid instance id: write 32 hexadecimal digits", instance_id)
        return self.root / "instances" / instance_id.lower()

    def instance_dirs(self) -> Iterator[Path]:
        """Yield the entries of the instances' directory that have an instance id as name."""
        for path in self.root.glob("instances/*"):
            if ids.is_instance_id(path.name):
                yield path

    def fresh(self, area: Path) -> Path:
        """Return an unused path of this run in ``work`` or ``trash``."""
        return area / f"{self._run}-{secrets.token_hex(8)}"

    def of_earlier_runs(self, area: Path) -> Iterator[Path]:
        """Yield the entries of ``work`` or ``trash`` that are not of this run."""
        if area.is_dir():
            for path in area.iterdir():
                if not path.name.startswith(f"{self._run}-"):
                    yield path

    def _image_dir(self, image_id: str) -> Path:
        match = _IMAGE_ID.fullmatch(image_id)
        if match is None:
            raise InvalidArgument(
                "invalid id of a resolved image: write it like postgres@sha256:<64 hex digits>",
                image_id,
            )
        engine, digest = match.groups()
        return self.root / "engines" / engine / digest
