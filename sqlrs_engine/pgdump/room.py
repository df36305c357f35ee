"""Whether a state store has room for a database, estimated before it is dumped."""

from collections.abc import Iterator

from sqlrs_engine import sizes
from sqlrs_engine.errors import DatabaseTooLarge
from sqlrs_engine.store.records import Json

from .database import Database
from .filters import Filters

_SHOWN_TABLES = 3
_COMPRESSION = 3
"""How many times smaller a dump is than its tables: a cautious guess."""


def needed_bytes(database: Database, filters: Filters, *, copy_on_write: bool) -> int:
    """Return the estimated size of a dump, its state and an instance."""
    if filters.schema_only:
        return 0
    selected = sum(table.size_bytes for table in database.tables)
    state = selected if filters.selects else max(selected, database.size_bytes)
    # Without shared blocks, the instance is a copy of its state.
    return state * (1 if copy_on_write else 2) + database.data_bytes // _COMPRESSION


def check_room(database: Database, filters: Filters, cache: Json) -> None:
    """Refuse a database that the state store has no room for.

    ``cache`` is the status of the cache, as the API shows it. Raises DatabaseTooLarge.
    """
    needed = needed_bytes(database, filters, copy_on_write=cache["copy_on_write"])
    reclaimable = cache["reclaimable_bytes"]
    room = cache["store_free_bytes"] + reclaimable
    where = "the disk of the state store has"
    limit = cache.get("configured_max_bytes")
    if limit is not None:
        left = max(0, limit - cache["usage_bytes"] + reclaimable)
        if left < room:
            room, where = left, "the cache (cache.capacity.maxBytes) has"
    if needed <= room:
        return
    raise DatabaseTooLarge(
        "the database is too large for the state store: leave out data (--schema-only, "
        "--exclude-table-data, --exclude-table, --schema), make room, or try with --force",
        f"{database.name} has {sizes.text(database.size_bytes)}, and its dump, state and instance "
        f"need about {sizes.text(needed)}; {where} room for {sizes.text(room)}; "
        f"largest tables: {', '.join(_largest(database)) or 'none'}",
    )


def _largest(database: Database) -> Iterator[str]:
    for table in database.tables[:_SHOWN_TABLES]:
        yield f"{table.schema}.{table.name} {sizes.text(table.size_bytes)}"
