"""What a client still has to send before its request can be carried out."""

from sqlrs_engine.errors import SourceInputsMissing

from .manifest import HASH


class Missing:
    """Collects what is missing, so that one response can request all of it."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], dict[str, str]] = {}
        self._blobs: dict[str, dict[str, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries or self._blobs)

    def hash_of(self, key: str) -> None:
        """Request the hash of a file."""
        self._entry(key, "file_hash")

    def listing_of(self, key: str) -> None:
        """Request the listing of a directory."""
        self._entry(key, "directory_listing")

    def blob(self, key: str, digest: str) -> None:
        """Request the content of a file."""
        self._blobs.setdefault(digest, {"path": key, "hash": HASH + digest})

    def error(self) -> SourceInputsMissing:
        """Return the error that requests everything collected."""
        return SourceInputsMissing(
            "source inputs are missing: complete the manifest, and upload the files",
            entries=list(self._entries.values()),
            blobs=list(self._blobs.values()),
        )

    def _entry(self, key: str, kind: str) -> None:
        self._entries.setdefault((key, kind), {"path": key, "kind": kind})
