"""The digests of dumps: a large dump is read only once."""

import hashlib
import json
import time

from sqlrs_engine.errors import Conflict, InvalidArgument
from sqlrs_engine.prepare.file_reads import SETTLED_NS, FileRead, printable
from sqlrs_engine.prepare.job_context import JobContext

from .files import DumpFile
from .memory import Memory
from .progress import Meter

_CHUNK_BYTES = 1024 * 1024


class DumpDigests:
    """The digests of dumps by path, each valid until a file of the dump changes; thread-safe."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def known(self, dump: DumpFile) -> str | None:
        """Return the digest of a dump that has not changed since it was read."""
        match self._memory.get(str(dump.path)):
            case [look, str(digest)] if look == _fingerprint(dump):
                return digest
        return None

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
        self._memory.put(str(dump.path), [_fingerprint(dump), digest])


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
