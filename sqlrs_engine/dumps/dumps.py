"""The dumps that a state store keeps: received, listed, handed out, deleted and evicted."""

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from sqlrs_engine import clock
from sqlrs_engine.clock import Timestamp
from sqlrs_engine.errors import (
    ENGINE_STOPPING,
    Conflict,
    DumpMissing,
    EngineError,
    NotFound,
    Unavailable,
)
from sqlrs_engine.store.records import Job, Totals

from .directory import DumpDirectory
from .dump import Dump
from .room import Room
from .upload import Upload
from .uses import jobs_with, named_in

_log = logging.getLogger(__name__)


class Dumps:
    """The kept dumps of one state store; safe to use from any thread."""

    def __init__(
        self,
        store_root: Path,
        unfinished: Callable[[], Iterable[Job]],
        room: Callable[[], Room],
        clock: clock.Clock = clock.utc_now,
    ) -> None:
        """``unfinished`` returns the jobs whose dumps must be kept."""
        self._directory = DumpDirectory(store_root / "dumps")
        self._unfinished = unfinished
        self._room = room
        self._clock = clock
        self._keeping = threading.Lock()  # keeps uploads of the same content apart
        self._lock = threading.Lock()  # on what follows; it may be taken under the other one
        self._dumps = {dump.dump_id: dump for dump in self._directory.load()}
        self._uploads: set[Upload] = set()
        self._stopping = False

    def sweep(self) -> None:
        """Remove what an earlier engine left behind."""
        self._directory.sweep()

    def stop(self) -> None:
        """Discard the uploads in progress, and accept no others."""
        with self._keeping:
            self._stopping = True
            with self._lock:
                uploads = list(self._uploads)
            for upload in uploads:
                self._directory.remove(upload.place)

    def receive(self, declared: int | None = None) -> Upload:
        """Begin an upload; ``declared`` is its size in bytes if the client declared one.

        Raises StorageFull, CacheLimitTooSmall, CacheUnavailable, Unavailable.
        """
        if self._stopping:
            raise Unavailable(ENGINE_STOPPING)
        upload = Upload(self._directory, self._room(), declared)
        with self._lock:
            self._uploads.add(upload)
        return upload

    def keep(self, upload: Upload, label: str | None = None) -> tuple[Dump, bool]:
        """Keep what was uploaded; also return whether it is new.

        Content that is kept already is marked as used now, and keeps its label. Raises
        InvalidArgument if nothing was uploaded, StorageFull, Unavailable.
        """
        upload.complete()
        now = self._clock()
        dump = Dump(
            dump_id=upload.digest,
            size_bytes=upload.size,
            created_at=now,
            last_used_at=now,
            label=label,
        )
        with self._keeping:
            if self._stopping:
                raise Unavailable(ENGINE_STOPPING)
            with self._lock:
                known = self._touch(dump.dump_id)
            if known is not None:
                return known, False
            # Without the other lock: to make space for it, other dumps may have to go.
            upload.with_space(lambda: self._directory.keep(upload.place, dump))
            with self._lock:
                self._dumps[dump.dump_id] = dump
                self._uploads.discard(upload)
        _log.info("keeping dump %s of %d bytes", dump.dump_id, dump.size_bytes)
        return dump, True

    def end(self, upload: Upload) -> None:
        """End an upload; unless it was kept, discard it."""
        with self._lock:
            self._uploads.discard(upload)
        upload.close()

    def get(self, dump_id: str) -> Dump:
        """Return a dump. Raises NotFound."""
        dump = self._dumps.get(dump_id)
        if dump is None:
            raise NotFound.of("dump", dump_id)
        return dump

    def find(self, id_prefix: str | None = None) -> list[Dump]:
        """Return the dumps whose ids start with the prefix, the oldest first."""
        with self._lock:
            dumps = list(self._dumps.values())
        found = (dump for dump in dumps if dump.dump_id.startswith(id_prefix or ""))
        return sorted(found, key=lambda dump: (dump.created_at, dump.dump_id))

    def path(self, dump_id: str) -> Path:
        """Return the file of a dump, and mark it as used now. Raises DumpMissing.

        The content never changes, and its SHA-256 is ``dump_id``. As long as an unfinished job
        names the dump, the file stays: call this when a request is read, so that it also stays
        until its job is stored.
        """
        with self._lock:
            if self._touch(dump_id) is None:
                raise missing(dump_id)
        return self._directory.content(dump_id)

    def totals(self) -> Totals:
        """Return the number of dumps, and their total size with that of uploads in progress."""
        with self._lock:
            kept = sum(dump.size_bytes for dump in self._dumps.values())
            coming = sum(upload.size for upload in self._uploads)
            return Totals(count=len(self._dumps), size_bytes=kept + coming)

    def delete(self, dump_id: str, *, dry_run: bool = False) -> None:
        """Delete a dump. Raises NotFound, and Conflict while an unfinished job uses it."""
        while True:
            dump = self.get(dump_id)
            users = jobs_with(dump_id, self._unfinished())
            if users:
                raise Conflict(
                    "the dump is in use: wait for the jobs that restore it, or cancel them",
                    f"{dump_id} is used by job {', '.join(users)}",
                )
            if dry_run or self._remove(dump):
                return

    def evictable(self, youngest: Timestamp) -> list[Dump]:
        """Return the dumps that may be evicted, the least recently used first.

        Those that unfinished jobs use stay, and those used after ``youngest``: clients upload
        first and submit their job later.
        """
        with self._lock:
            old = [dump for dump in self._dumps.values() if dump.last_used_at <= youngest]
        if not old:
            return []
        used = {named for job in self._unfinished() for named in named_in(job.request)}
        free = (dump for dump in old if dump.dump_id not in used)
        return sorted(free, key=lambda dump: (dump.last_used_at, -dump.size_bytes))

    def evict(self, dump: Dump) -> bool:
        """Evict a dump unless it was used since it was listed; return whether it is gone now."""
        try:
            evicted = self._remove(dump)
        except (EngineError, OSError):
            _log.exception("cannot evict dump %s", dump.dump_id)
            return False
        if evicted:
            _log.info("evicted dump %s of %d bytes", dump.dump_id, dump.size_bytes)
        return evicted

    def _remove(self, seen: Dump) -> bool:
        """Remove a dump if it was not used since it was seen; return whether that is so."""
        with self._lock:
            if self._dumps.get(seen.dump_id) is not seen:
                return False
            place = self._directory.withdraw(seen.dump_id)
            del self._dumps[seen.dump_id]
        self._directory.remove(place)
        return True

    def _touch(self, dump_id: str) -> Dump | None:
        """Mark a dump as used now, and return it; None when there is none. Holds the lock."""
        dump = self._dumps.get(dump_id)
        if dump is None:
            return None
        used = self._dumps[dump_id] = replace(dump, last_used_at=self._clock())
        try:
            self._directory.touch(used)
        except OSError as error:  # it counts until the next start
            _log.warning("cannot store the use of dump %s: %s", dump_id, error)
        return used


def missing(dump_id: str) -> DumpMissing:
    """Return the error for a dump that is not kept, or not any more."""
    return DumpMissing(
        "the dump is not in the state store: import the database again (sqlrs-engine import), "
        "or upload the dump again",
        f"{dump_id}: it was deleted, evicted to make room, or never uploaded",
    )
