"""The record of a kept dump."""

from dataclasses import dataclass

from sqlrs_engine.clock import Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Dump:
    """A kept dump. ``dump_id`` is the SHA-256 of its content, ``label`` what its uploader said."""

    dump_id: str
    size_bytes: int
    created_at: Timestamp
    last_used_at: Timestamp
    label: str | None = None
