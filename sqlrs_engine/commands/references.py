"""References that people type: ids may be shortened, as in the listings."""

import re
from typing import TYPE_CHECKING, Any

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.ids import MIN_PREFIX_LENGTH

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient

_HEX = re.compile(r"[0-9a-fA-F]+")


def by_prefix(engine: "EngineClient", noun: str, reference: str) -> dict[str, Any] | None:
    """Return the listed instance or state (``noun``) whose id begins so, None if there is none.

    Raises InvalidArgument if there are several.
    """
    if len(reference) < MIN_PREFIX_LENGTH or not _HEX.fullmatch(reference):
        return None
    rows: list[dict[str, Any]] = engine.get(f"/{noun}s", id_prefix=reference)
    if len(rows) > 1:
        raise InvalidArgument(
            f"{reference} is ambiguous: give more digits", f"it matches {len(rows)} {noun}s"
        )
    return rows[0] if rows else None
