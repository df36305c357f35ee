"""The images on disk, shared by all threads and processes of one user; see ``image_layout``.

An image appears by one rename, complete or not at all, and never changes. The files in its
``rootfs`` are hard links to those of its layers: replace a file, never write into it.

Pulls and loads hold the store's lock together; what removes shared files holds it alone.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import NotFound, StorageFull, Unavailable
from sqlrs_engine.host.disk_space import is_full
from sqlrs_engine.processes.cancellation import Cancellation

from .file_locks import exclusive, exclusive_if_free, shared
from .image_layout import (
    HEX_NAME,
    IMAGE_FILE,
    ROOT_FILES,
    UNFINISHED,
    ImageLayout,
    read_json,
    write_json,
)
from .layers import is_complete
from .manifests import ImageConfig
from .programs import ImagePrograms
from .references import Reference, is_digest, parse_reference

IMAGE_FORMAT = 1
"""Raised whenever images are unpacked or made runnable in another way; older ones are remade."""

_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredImage:
    """An image on this machine.

    ``digest`` is that of the platform manifest (of a docker-archive: of the configuration).
    ``size_bytes`` is the size of its files; layers that other images share count here as well.
    ``origin`` is the registry, or the name of the file, that it came from. ``references`` are the
    familiar forms of what means this image here, tags first.
    """

    digest: str
    rootfs: Path
    config: ImageConfig
    programs: ImagePrograms
    size_bytes: int
    origin: str
    references: tuple[str, ...] = ()

    @property
    def bin_dir(self) -> Path:
        """The directory with the runnable programs."""
        return self.rootfs / self.programs.bin_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """The result of a collection: what it removed."""

    layers: int = 0
    downloads: int = 0
    freed_bytes: int = 0


class ImageStore:
    """The images below ``root``, which appears with the first image; thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.layout = ImageLayout(root)

    def images(self) -> list[StoredImage]:
        """Return the images that are complete, sorted by digest. Damaged ones are left out."""
        names = self._names()
        homes = sorted(self.root.glob(HEX_NAME))
        return [image for home in homes if (image := self._read(home, names)) is not None]

    def find(self, reference: Reference) -> StoredImage | None:
        """Return the image that a reference means here, None when it is not here.

        The digest of a platform manifest finds an image whatever its repository: it means the
        same content everywhere.
        """
        if reference.digest is not None:
            image = self.by_digest(reference.digest)
            if image is not None:
                return image
        kept = read_json(self.layout.reference_file(_key(reference)))
        digest = kept.get("digest") if kept else None
        return self.by_digest(digest) if isinstance(digest, str) else None

    def by_digest(self, digest: str) -> StoredImage | None:
        """Return the image with this platform manifest digest, None when it is not here."""
        return self._read(self.layout.home(digest), self._names()) if is_digest(digest) else None

    def remember(self, reference: Reference, digest: str) -> None:
        """Let ``reference`` mean the image ``digest`` from now on."""
        key = _key(reference)
        write_json(self.layout.reference_file(key), {"reference": key, "digest": digest})

    def forget(self, reference: Reference) -> None:
        """Let ``reference`` mean nothing here; the image stays."""
        self.layout.reference_file(_key(reference)).unlink(missing_ok=True)

    def remove(self, digest: str, cancellation: Cancellation | None = None) -> Collected:
        """Remove an image with all its references, and the layers that nothing else uses.

        Its running programs go on. Waits while a pull works on the same image. The layers stay
        while any pull is under way: a later collection removes them. Raises NotFound, Unavailable.
        """
        if not is_digest(digest) or not self.layout.home(digest).is_dir():
            raise NotFound.of("image", digest)
        cancellation = cancellation or Cancellation()
        with (
            disk_failures(self.root),
            # What is on its way out is no leftover, which the next pull would remove.
            shared(self.layout.store_lock, cancellation),
            exclusive(self.layout.image_lock(digest), cancellation),
        ):
            self._remove_tree(self.layout.home(digest))
            for file, kept in self._reference_files():
                if kept is not None and kept.get("digest") == digest:
                    file.unlink(missing_ok=True)
        with disk_failures(self.root), exclusive_if_free(self.layout.store_lock) as alone:
            return self._collect_layers() if alone else Collected()

    def collect(self) -> Collected | None:
        """Remove what no image uses: layers, leftovers of dead pulls, incomplete downloads.

        Returns None, and removes nothing, while a pull is under way. Raises Unavailable.
        """
        if not self.layout.locks.is_dir():
            return Collected()
        with disk_failures(self.root), exclusive_if_free(self.layout.store_lock) as alone:
            if not alone:
                return None
            self._remove_leftovers()
            for home in self.root.glob(HEX_NAME):
                if _is_outdated(home):
                    self._remove_tree(home)
            self._remove_dangling_references()
            downloads = [*self.layout.downloads.iterdir()]
            freed = sum(file.stat().st_blocks * _BLOCK_BYTES for file in downloads)
            for file in downloads:
                file.unlink()
            layers = self._collect_layers()
            return replace(layers, downloads=len(downloads), freed_bytes=layers.freed_bytes + freed)

    @contextlib.contextmanager
    def pulling(self, cancellation: Cancellation) -> Iterator[None]:
        """Keep everything that is made during the block from being collected.

        The first of several removes what killed ones have left. Raises Conflict when the root is
        another user's, OSError.
        """
        self.layout.make()
        with exclusive_if_free(self.layout.store_lock) as alone:
            if alone:
                self._remove_leftovers()
        with shared(self.layout.store_lock, cancellation):
            yield

    @contextlib.contextmanager
    def workspace(self) -> Iterator[Path]:
        """Yield a directory that is removed at the end, on the file system of the images."""
        made = Path(tempfile.mkdtemp(dir=self.layout.temporary))
        try:
            made.chmod(0o755)
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def publish(self, made: Path, image: StoredImage) -> StoredImage:
        """Move the directory ``made``, which has the ``rootfs``, to its place; return the image.

        The caller holds the image's lock. A damaged or outdated image in its place is removed.
        """
        home = self.layout.home(image.digest)
        kept = {
            "format": IMAGE_FORMAT,
            "digest": image.digest,
            "origin": image.origin,
            "size_bytes": image.size_bytes,
            "config": asdict(image.config),
            "programs": image.programs.as_dict(),
        }
        write_json(made / IMAGE_FILE, kept)
        self._remove_tree(home)
        made.rename(home)
        return replace(image, rootfs=home / ROOT_FILES)

    def clear_layer(self, diff_id: str) -> None:
        """Remove what is in the place of a layer. The caller holds its lock."""
        self._remove_tree(self.layout.layer(diff_id))

    def _read(self, home: Path, names: dict[str, list[Reference]]) -> StoredImage | None:
        kept = read_json(home / IMAGE_FILE)
        if kept is None or kept.get("format") != IMAGE_FORMAT:
            return None
        try:
            return StoredImage(
                digest=kept["digest"],
                rootfs=home / ROOT_FILES,
                config=_config(kept["config"]),
                programs=ImagePrograms.from_dict(kept["programs"]),
                size_bytes=kept["size_bytes"],
                origin=kept["origin"],
                references=tuple(each.familiar for each in names.get(kept["digest"], [])),
            )
        except (KeyError, TypeError, ValueError):
            return None

    def _names(self) -> dict[str, list[Reference]]:
        """Return the references of each image, tags first."""
        names: dict[str, list[Reference]] = {}
        for _, kept in self._reference_files():
            if kept is not None:
                names.setdefault(kept["digest"], []).append(parse_reference(kept["reference"]))
        for each in names.values():
            each.sort(key=lambda name: (name.digest is not None, str(name)))
        return names

    def _reference_files(self) -> Iterator[tuple[Path, dict[str, Any] | None]]:
        for file in sorted(self.layout.references.glob(f"{HEX_NAME}.json")):
            kept = read_json(file)
            sound = kept is not None and isinstance(kept.get("digest"), str) and "reference" in kept
            yield file, kept if sound else None

    def _remove_dangling_references(self) -> None:
        for file, kept in self._reference_files():
            if kept is None or not self.layout.home(kept["digest"]).is_dir():
                file.unlink(missing_ok=True)

    def _remove_leftovers(self) -> None:
        for left in self.layout.temporary.iterdir():
            shutil.rmtree(left)
        for layer in self.layout.layers.iterdir():
            if not is_complete(layer):
                shutil.rmtree(layer)
        for file in self.layout.references.glob(UNFINISHED):
            file.unlink()

    def _remove_tree(self, directory: Path) -> None:
        """Remove a directory, in one step for everything that looks for it."""
        try:
            with self.workspace() as trash, contextlib.suppress(FileNotFoundError):
                directory.rename(trash / "removed")
        except OSError as error:
            if not is_full(error):
                raise
            # There is no room for another directory: what describes this one goes first.
            for file in filter(Path.is_file, directory.iterdir()):
                file.unlink()
            shutil.rmtree(directory)

    def _collect_layers(self) -> Collected:
        homes = self.root.glob(HEX_NAME)
        kept = [read_json(home / IMAGE_FILE) or {} for home in homes]
        used = {
            self.layout.layer(diff_id)
            for each in kept
            for diff_id in each.get("config", {}).get("diff_ids", [])
        }
        unused = [each for each in self.layout.layers.glob(HEX_NAME) if each not in used]
        freed = sum(_own_bytes(each) for each in unused)
        for each in unused:
            self._remove_tree(each)
        return Collected(layers=len(unused), freed_bytes=freed)


@contextlib.contextmanager
def disk_failures(root: Path) -> Iterator[None]:
    """Turn failures of the disk into errors with advice."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise StorageFull(
                "the disk of the images is full: remove images (sqlrs-engine postgres rm, "
                "sqlrs-engine postgres gc), or free disk space",
                f"{root}: {error.strerror}",
            ) from error
        raise Unavailable(
            f"cannot change the images in {root}: check its permissions", str(error)
        ) from error


def _key(reference: Reference) -> str:
    """Return what a reference is kept under; next to a digest, a tag has no meaning."""
    return str(replace(reference, tag=None) if reference.digest else reference)


def _config(kept: dict[str, Any]) -> ImageConfig:
    lists = {name: tuple(value) for name, value in kept.items() if isinstance(value, list)}
    return ImageConfig(**kept | lists)


def _is_outdated(home: Path) -> bool:
    """Return whether this version or an older one has made an image that it can't use."""
    kept = read_json(home / IMAGE_FILE)
    made_as = kept.get("format") if kept else 0
    return not isinstance(made_as, int) or made_as < IMAGE_FORMAT


def _own_bytes(layer: Path) -> int:
    """Return the size of the files that nothing else links to."""
    statuses = (file.lstat() for file in layer.rglob("*"))
    return sum(each.st_blocks * _BLOCK_BYTES for each in statuses if each.st_nlink == 1)
