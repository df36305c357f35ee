"""From the parts of an image to an image in the store."""

import logging
import os
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import ImageCorrupt
from sqlrs_engine.host.disk_space import sync
from sqlrs_engine.processes.cancellation import Cancellation

from .background import Ahead
from .downloads import OnBytes
from .file_locks import exclusive
from .image_layout import ROOT_FILES
from .image_store import ImageStore, StoredImage
from .layers import read_layer, unpack_layer
from .manifests import Descriptor, ImageConfig, Manifest, corrupt
from .programs import ImagePrograms
from .progress import Reporter
from .root_files import RootFiles

MakeRunnable = Callable[[Path, ImageConfig], ImagePrograms]
"""Makes the PostgreSQL of a root file system runnable in place. Raises ImageUnusable."""

_LAYERS_AT_ONCE = 3

GetLayer = Callable[[Descriptor, Path, OnBytes], Generator[bytes, None, None]]
"""Yields a layer as it is stored; keeps in the file what it downloads, until it is complete."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """How images are put together in ``store``."""

    store: ImageStore
    get_layer: GetLayer
    make_runnable: MakeRunnable
    reporter: Reporter
    cancellation: Cancellation

    def image(self, manifest: Manifest, config: ImageConfig, origin: str) -> StoredImage:
        """Return the image of a manifest, made unless it is in the store already.

        Several that want the same image do the work once; the others wait and say so. The caller
        is in ``store.pulling``. Raises ImageCorrupt, OSError, what ``get_layer`` and
        ``make_runnable`` raise, and what ends ``cancellation``.
        """
        if len(config.diff_ids) != len(manifest.layers):
            raise corrupt("manifest", "it and the configuration have different numbers of layers")
        with exclusive(
            self.store.layout.image_lock(manifest.digest), self.cancellation, self._waiting
        ):
            there = self.store.by_digest(manifest.digest)
            if there is not None:
                return there
            self._unpack_layers(dict(zip(config.diff_ids, manifest.layers, strict=True)))
            image = self._publish(manifest, config, origin)
            for layer in manifest.layers:
                # A pull that was killed may have left the file of a layer that it had unpacked.
                self.store.layout.download(layer.digest).unlink(missing_ok=True)
            return image

    def _publish(self, manifest: Manifest, config: ImageConfig, origin: str) -> StoredImage:
        self.reporter.phase("unpacking")
        tree = RootFiles()
        for diff_id in config.diff_ids:
            self.cancellation.check()
            layer = read_layer(self.store.layout.layer(diff_id))
            if layer is None:
                raise OSError(f"{self.store.layout.layer(diff_id)} has been removed meanwhile")
            tree.apply(layer)
        with self.store.workspace() as workspace:
            made = workspace / "image"
            made.mkdir()
            made.chmod(0o755)
            tree.write(made / ROOT_FILES)
            self.cancellation.check()
            self.reporter.phase("finishing")
            programs = self.make_runnable(made / ROOT_FILES, config)
            _write_out(made)
            image = StoredImage(
                digest=manifest.digest,
                rootfs=made / ROOT_FILES,
                config=config,
                programs=programs,
                size_bytes=sum(file.content.stat().st_size for file in tree.files()),
                origin=origin,
            )
            return self.store.publish(made, image)

    def _unpack_layers(self, layers: dict[str, Descriptor]) -> None:
        """Unpack the layers that are not here, several at once."""
        missing = [
            (diff_id, descriptor)
            for diff_id, descriptor in layers.items()
            if read_layer(self.store.layout.layer(diff_id)) is None
        ]
        self.reporter.expect(len(missing), sum(each.size for _, each in missing))
        if not missing:
            return
        # The failure of a layer ends the work on the others.
        common = Cancellation()
        with (
            self.cancellation.calling(common.cancel),
            ThreadPoolExecutor(_LAYERS_AT_ONCE, thread_name_prefix="layer") as threads,
        ):
            # The largest first: it takes the longest, and the small ones fit in beside it.
            missing.sort(key=lambda each: each[1].size, reverse=True)
            tasks = [threads.submit(self._unpack, *each, common) for each in missing]
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            failed = [each for each in done if each.exception() is not None]
            if failed:
                common.cancel()
        self.cancellation.check()
        for task in failed:
            task.result()

    def _unpack(self, diff_id: str, descriptor: Descriptor, cancellation: Cancellation) -> None:
        layout = self.store.layout
        with exclusive(layout.layer_lock(diff_id), cancellation, self._waiting):
            if read_layer(layout.layer(diff_id)) is None:
                with exclusive(layout.blob_lock(descriptor.digest), cancellation, self._waiting):
                    self._unpack_alone(diff_id, descriptor, cancellation)
            else:
                self.reporter.bytes(descriptor.size)
        self.reporter.layer()

    def _unpack_alone(
        self, diff_id: str, descriptor: Descriptor, cancellation: Cancellation
    ) -> None:
        partial = self.store.layout.download(descriptor.digest)
        resumes = partial.exists()
        try:
            self._download_and_unpack(diff_id, descriptor, partial, cancellation)
        except ImageCorrupt as error:
            partial.unlink(missing_ok=True)
            if not resumes:
                raise
            # Perhaps only what an earlier pull has left was wrong, such as after a power failure.
            _log.warning("downloading %s anew: %s", descriptor.digest, error)
            self._download_and_unpack(diff_id, descriptor, partial, cancellation)
        partial.unlink(missing_ok=True)

    def _download_and_unpack(
        self, diff_id: str, descriptor: Descriptor, partial: Path, cancellation: Cancellation
    ) -> None:
        source = self.get_layer(descriptor, partial, self.reporter.bytes)
        with self.store.workspace() as workspace:
            made = workspace / "layer"
            with Ahead(source, cancellation) as chunks:
                unpack_layer(chunks, diff_id, made)
            _write_out(made)
            self.store.publish_layer(made, diff_id)

    def _waiting(self) -> None:
        self.reporter.phase("waiting")


def _write_out(directory: Path) -> None:
    """Wait until what was written is on the disk: a name that stays must have its content."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
