"""Digests of sequences of records, each of them a sequence of fields."""

import hashlib


class ContentDigest:
    """A SHA-256 to which records are added; no two different sequences have the same input."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, *fields: str) -> None:
        """Add a record. Lone surrogates stand for bytes that are not UTF-8."""
        for field in fields:
            data = field.encode("utf-8", "surrogatepass")
            self._hash.update(b"%d:" % len(data))
            self._hash.update(data)
        self._hash.update(b";")

    def hexdigest(self) -> str:
        """Return the digest of all records so far, in hexadecimal."""
        return self._hash.hexdigest()
