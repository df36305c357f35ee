"""From the parts of an image to an image in the store."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
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
from .layers import Layer, complete_layer, read_layer, unpack_layer
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
            image = self._assembled(manifest, config, origin)
            for layer in manifest.layers:
                # A pull that was killed may have left the file of a layer that it had unpacked.
                self.store.layout.download(layer.digest).unlink(missing_ok=True)
            return image

    def _assembled(self, manifest: Manifest, config: ImageConfig, origin: str) -> StoredImage:
        descriptors = dict(zip(config.diff_ids, manifest.layers, strict=True))
        with self.store.workspace() as workspace:
            made = workspace / "image"
            made.mkdir()
            made.chmod(0o755)
            with self._unpacked(descriptors) as layers:
                self.reporter.phase("unpacking")
                tree = RootFiles()
                for diff_id in config.diff_ids:
                    self.cancellation.check()
                    tree.apply(layers[diff_id])
                tree.write(made / ROOT_FILES)
                size = tree.size_bytes()
                self.cancellation.check()
                self.reporter.phase("finishing")
                programs = self.make_runnable(made / ROOT_FILES, config)
            _write_out(made)
            image = StoredImage(
                digest=manifest.digest,
                rootfs=made / ROOT_FILES,
                config=config,
                programs=programs,
                size_bytes=size,
                origin=origin,
            )
            return self.store.publish(made, image)

    @contextlib.contextmanager
    def _unpacked(self, descriptors: Mapping[str, Descriptor]) -> Iterator[Mapping[str, Layer]]:
        """Yield the layers, by diff id, once all are unpacked.

        At the end of the block, those that were not here are complete: the disk may take as long
        to write them as the work in the block takes.
        """
        layers = {diff_id: self._layer(diff_id) for diff_id in descriptors}
        missing = {diff_id: descriptors[diff_id] for diff_id, layer in layers.items() if not layer}
        self.reporter.expect(len(missing), sum(each.size for each in missing.values()))
        with ThreadPoolExecutor(1, thread_name_prefix="completion") as thread:
            unpacked = self._unpack_all(missing, thread) if missing else []
            yield {diff_id: layer for diff_id, layer in layers.items() if layer} | {
                each.diff_id: each.layer for each in unpacked
            }
        for each in unpacked:
            each.completion.result()

    def _layer(self, diff_id: str) -> Layer | None:
        return read_layer(self.store.layout.layer(diff_id))

    def _unpack_all(self, missing: Mapping[str, Descriptor], thread: Executor) -> list["_Unpacked"]:
        """Unpack layers, several at once; ``thread`` is for their completion."""
        # The failure of a layer ends the work on the others.
        common = Cancellation()
        with (
            self.cancellation.calling(common.cancel),
            ThreadPoolExecutor(_LAYERS_AT_ONCE, thread_name_prefix="layer") as threads,
        ):
            # The largest first: it takes the longest, and the small ones fit in beside it.
            sorted_ = sorted(missing.items(), key=lambda each: each[1].size, reverse=True)
            tasks = [threads.submit(self._unpack, *each, common, thread) for each in sorted_]
            done, _ = wait(tasks, return_when=FIRST_EXCEPTION)
            if any(each.exception() is not None for each in done):
                common.cancel()
        self.cancellation.check()
        failed = [each for each in done if each.exception() is not None]
        return [each.result() for each in failed or tasks]

    def _unpack(
        self, diff_id: str, descriptor: Descriptor, cancellation: Cancellation, thread: Executor
    ) -> "_Unpacked":
        layout = self.store.layout
        with contextlib.ExitStack() as locks:
            locks.enter_context(exclusive(layout.layer_lock(diff_id), cancellation, self._waiting))
            layer = self._layer(diff_id)
            if layer is not None:
                self.reporter.bytes(descriptor.size)
                completion: Future[None] = Future()
                completion.set_result(None)
            else:
                blob_lock = layout.blob_lock(descriptor.digest)
                locks.enter_context(exclusive(blob_lock, cancellation, self._waiting))
                layer = self._unpack_alone(diff_id, descriptor, cancellation)
                completion = thread.submit(self._complete, diff_id, locks.pop_all())
        self.reporter.layer()
        return _Unpacked(diff_id, layer, completion)

    def _unpack_alone(
        self, diff_id: str, descriptor: Descriptor, cancellation: Cancellation
    ) -> Layer:
        partial = self.store.layout.download(descriptor.digest)
        resumes = partial.exists()
        try:
            layer = self._download_and_unpack(diff_id, descriptor, partial, cancellation)
        except ImageCorrupt as error:
            partial.unlink(missing_ok=True)
            if not resumes:
                raise
            # Perhaps only what an earlier pull has left was wrong, such as after a power failure.
            _log.warning("downloading %s anew: %s", descriptor.digest, error)
            layer = self._download_and_unpack(diff_id, descriptor, partial, cancellation)
        # A layer that is being completed needs no second download unless the machine fails now,
        # and the disk is spared to write both.
        partial.unlink(missing_ok=True)
        return layer

    def _download_and_unpack(
        self, diff_id: str, descriptor: Descriptor, partial: Path, cancellation: Cancellation
    ) -> Layer:
        source = self.get_layer(descriptor, partial, self.reporter.bytes)
        self.store.clear_layer(diff_id)
        place = self.store.layout.layer(diff_id)
        with _removed_on_failure(place), Ahead(source, cancellation) as chunks:
            return unpack_layer(chunks, diff_id, place)

    def _complete(self, diff_id: str, locks: contextlib.ExitStack) -> None:
        """Complete a layer, and let go of its locks."""
        place = self.store.layout.layer(diff_id)
        with locks, _removed_on_failure(place):
            _write_out(place)
            complete_layer(place)

    def _waiting(self) -> None:
        self.reporter.phase("waiting")


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """A layer, and the end of its completion: only then may an image be published that has it."""

    diff_id: str
    layer: Layer
    completion: Future[None]


@contextlib.contextmanager
def _removed_on_failure(directory: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def _write_out(directory: Path) -> None:
    """Wait until what was written is on the disk: a name that stays must have its content."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
