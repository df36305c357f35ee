"""The digests of dumps, remembered across engines: a large dump is read only once.

::

    <store>/dump-digests.json    {path: [fingerprint, digest]}, the latest used last
"""

import hashlib
import json
import logging
import os
import threading
import time
from collections import OrderedDict
from pathlib import Path

from sqlrs_engine.errors import Conflict, InvalidArgument
from sqlrs_engine.prepare.file_reads import SETTLED_NS, FileRead, printable
from sqlrs_engine.prepare.job_context import JobContext

from .files import DumpFile
from .progress import Meter

_REMEMBERED = 1000
_CHUNK_BYTES = 1024 * 1024

_log = logging.getLogger(__name__)


class DumpDigests:
    """The digests of dumps by path, each valid until a file of the dump changes; thread-safe."""

    def __init__(self, memory: Path) -> None:
        """``memory`` is the file that keeps the digests."""
        self._memory = memory
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[str, str]] | None = None

    def known(self, dump: DumpFile) -> str | None:
        """Return the digest of a dump that has not changed since it was read."""
        with self._lock:
            found = self._load().get(str(dump.path))
        return found[1] if found is not None and found[0] == _fingerprint(dump) else None

    def read(self, dump: DumpFile, context: JobContext) -> str:
        """Read a dump, unless it is known, and return the SHA-256 of its content.

        That of a directory is made of the names and digests of its files. Raises Conflict when the
        dump changes meanwhile, InvalidArgument when it cannot be read, and what
        ``context.cancellation.check`` does.
        """
        known = self.known(dump)
        if known is not None:
            return known
        meter = Meter(f"reading {dump.path.name}", dump.size, context.log)
        digests = {file.path.name: _sha256(file, meter, context) for file in dump.files}
        if dump.format == "directory":
            text = json.dumps(digests, sort_keys=True, separators=(",", ":"))
            digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        else:
            (digest,) = digests.values()
        self._remember(dump, digest)
        return digest

    def _remember(self, dump: DumpFile, digest: str) -> None:
        # One changed again within a clock tick may look the same.
        if time.time_ns() - max(max(file.identity[3:]) for file in dump.files) < SETTLED_NS:
            return
        with self._lock:
            known = self._load()
            known[str(dump.path)] = _fingerprint(dump), digest
            known.move_to_end(str(dump.path))
            while len(known) > _REMEMBERED:
                known.popitem(last=False)
            self._store(known)

    def _load(self) -> OrderedDict[str, tuple[str, str]]:
        if self._known is None:
            try:
                kept = json.loads(self._memory.read_text(encoding="utf-8"))
                entries = {path: (str(look), str(digest)) for path, (look, digest) in kept.items()}
                self._known = OrderedDict(entries)
            except FileNotFoundError:
                self._known = OrderedDict()
            except (OSError, ValueError, TypeError, AttributeError) as error:
                # A cache: dumps are read again.
                _log.warning("ignoring %s: %s", self._memory, error)
                self._known = OrderedDict()
        return self._known

    def _store(self, known: OrderedDict[str, tuple[str, str]]) -> None:
        temporary = self._memory.with_suffix(".tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(known, file)
            temporary.replace(self._memory)
        except OSError as error:
            # The next engine reads the dumps again.
            _log.warning("cannot write %s: %s", self._memory, error)


def _fingerprint(dump: DumpFile) -> str:
    """Return a text that changes with any file; devices have other numbers after a restart."""
    looks = [[file.path.name, *file.identity[1:]] for file in dump.files]
    text = json.dumps(looks)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _sha256(file: FileRead, meter: Meter, context: JobContext) -> str:
    digest = hashlib.sha256()
    try:
        with file.path.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                context.cancellation.check()
                digest.update(chunk)
                meter.add(len(chunk))
    except OSError as error:
        raise InvalidArgument(
            "cannot read file", f"{printable(str(file.path))}: {error.strerror}"
        ) from error
    if not file.unchanged():
        raise Conflict(
            "a file changed while the job read it: prepare again", printable(str(file.path))
        )
    return digest.hexdigest()
