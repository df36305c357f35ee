"""The directories of the image store.

::

<root>/<64 hex of the platform manifest digest>/rootfs      the unpacked files
<root>/<64 hex>/image.json                                  what the image is
<root>/references/<64 hex>.json                             a reference and the image it means
<root>/layers/<64 hex of the diff id>/                      unpacked layers: see ``layers``
<root>/downloads/<64 hex>                                   layers whose download is incomplete
<root>/temporary/                                           what is being made
<root>/locks/                                               see ``file_locks``
"""

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.host.file_descriptors import shortage
from sqlrs_engine.host.private_directories import check_owner

IMAGE_FILE = "image.json"
ROOT_FILES = "rootfs"
HEX_NAME = "[0-9a-f]" * 64
UNFINISHED = ".*.new"
"""The files that ``write_json`` has not finished."""


@dataclass(frozen=True, slots=True)
class ImageLayout:
    """The paths below ``root``."""

    root: Path

    @property
    def references(self) -> Path:
        """The directory of references."""
        return self.root / "references"

    @property
    def layers(self) -> Path:
        """The directory of unpacked layers."""
        return self.root / "layers"

    @property
    def downloads(self) -> Path:
        """The directory of incomplete downloads."""
        return self.root / "downloads"

    @property
    def temporary(self) -> Path:
        """The directory of what is being made."""
        return self.root / "temporary"

    @property
    def locks(self) -> Path:
        """The directory of lock files, which are never removed."""
        return self.root / "locks"

    @property
    def store_lock(self) -> Path:
        """The lock that pulls hold together, and what removes shared files holds alone."""
        return self.locks / "store"

    def home(self, digest: str) -> Path:
        """Return the directory of an image."""
        return self.root / _hex(digest)

    def layer(self, diff_id: str) -> Path:
        """Return the directory of an unpacked layer."""
        return self.layers / _hex(diff_id)

    def download(self, digest: str) -> Path:
        """Return the file of an incomplete download."""
        return self.downloads / _hex(digest)

    def image_lock(self, digest: str) -> Path:
        """Return the lock of an image; its holder may wait for those of layers."""
        return self.locks / f"image-{_hex(digest)}"

    def layer_lock(self, diff_id: str) -> Path:
        """Return the lock of an unpacked layer; its holder may wait for that of a download."""
        return self.locks / f"layer-{_hex(diff_id)}"

    def blob_lock(self, digest: str) -> Path:
        """Return the lock of a download."""
        return self.locks / f"blob-{_hex(digest)}"

    def reference_file(self, reference: str) -> Path:
        """Return the file that says what a reference means."""
        return self.references / f"{hashlib.sha256(reference.encode()).hexdigest()}.json"

    def make(self) -> None:
        """Create the directories; all users may enter them, so that servers can run from them.

        Raises Conflict when the root is another user's, OSError.
        """
        self._make_root()
        check_owner(self.root, "the directory of images")
        for each in (self.references, self.layers, self.downloads, self.temporary, self.locks):
            each.mkdir(exist_ok=True)
        for each in (self.root, self.layers, self.temporary):
            each.chmod(0o755)
        for each in (self.references, self.downloads, self.locks):
            each.chmod(0o700)

    def _make_root(self) -> None:
        """Make the root and what leads there, which an engine that is root shares with others."""
        for step in reversed((self.root, *self.root.parents)):
            with contextlib.suppress(FileExistsError):
                step.mkdir()
                if os.geteuid() == 0:  # whatever its umask
                    step.chmod(0o755)


def read_json(file: Path) -> dict[str, Any] | None:
    """Return the object in a file, None when there is no such file or it is damaged.

    Raises Unavailable when the process has no descriptor left.
    """
    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        return None
    except OSError as error:
        if (lack := shortage(error)) is not None:
            raise lack from error
        return None
    return value if isinstance(value, dict) else None


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a file by one rename; it has reached the disk."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as target:
            json.dump(value, target, indent=1)
            target.flush()
            os.fsync(target.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
