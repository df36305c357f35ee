"""Uploads from clients on other machines, and the removal of unused ones."""

import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from sqlrs_engine.config import Config
from sqlrs_engine.store.records import Job

from .blobs import Blobs, Upload
from .manifest import digests
from .trees import Trees

MAX_BYTES = "sources.blobs.maxBytes"
TTL = "sources.blobs.ttl"

# The shortest time to live: clients upload first and submit their job later.
SHORTEST_TTL = 600.0
COLLECT_EVERY = 600.0

_log = logging.getLogger(__name__)


class Sources:
    """The uploads in one state store; safe to use from any thread."""

    def __init__(
        self, store_root: Path, config: Config, unfinished: Callable[[], Iterable[Job]]
    ) -> None:
        """``unfinished`` returns the jobs whose uploads must be kept."""
        self.blobs = Blobs(store_root / "blobs")
        self.trees = Trees(store_root / "sources", self.blobs)
        self._config = config
        self._unfinished = unfinished
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def receive(self, digest: str, declared: int | None = None) -> Upload:
        """Begin an upload; ``declared`` is its size in bytes if the client declared one.

        Raises InvalidArgument, SourceBlobTooLarge, StorageFull.
        """
        return self.blobs.receive(digest, int(self._config.value(MAX_BYTES)), declared)

    def collect(self) -> int:
        """Remove the contents whose time to live has expired; return how many were removed."""
        ttl = max(self._config.seconds(TTL), SHORTEST_TTL)
        removed = self.blobs.collect(self._in_use, ttl)
        if removed:
            _log.info("removed %d uploaded files that nothing uses", removed)
        return removed

    def start(self) -> None:
        """Remove what an earlier engine left behind, then collect in the background."""
        self.blobs.sweep()
        self.trees.sweep()
        self._thread = threading.Thread(target=self._run, name="sources", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background thread."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _in_use(self) -> set[str]:
        manifests = (job.request.get("source_manifest") for job in self._unfinished())
        return {digest for manifest in manifests for digest in digests(manifest)}

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.collect()
            except Exception:
                # The thread lives on.
                _log.exception("cannot look for unused uploads: trying again later")
            self._stopping.wait(COLLECT_EVERY)
