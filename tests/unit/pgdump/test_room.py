"""pgdump.room: databases that do not fit are refused, with figures."""

import pytest

from sqlrs_engine.errors import DatabaseTooLarge
from sqlrs_engine.pgdump.database import Database, Table
from sqlrs_engine.pgdump.filters import Filters
from sqlrs_engine.pgdump.room import check_room, needed_bytes

GIB = 1024**3
TABLES = (
    Table("public", "event", 6 * GIB, 3 * GIB),
    Table("audit", "log", 3 * GIB, 3 * GIB),
)


def database(size: int = 10 * GIB, tables: tuple[Table, ...] = TABLES) -> Database:
    return Database(
        name="app",
        host="db",
        major=17,
        version="17.2",
        size_bytes=size,
        is_encrypted=True,
        tables=tables,
    )


def cache(free: int, **more: object) -> dict[str, object]:
    status = {
        "store_free_bytes": free * GIB,
        "reclaimable_bytes": 0,
        "usage_bytes": 0,
        "copy_on_write": True,
    }
    return status | more


def test_the_need_is_the_state_the_instance_and_the_dump() -> None:
    assert needed_bytes(database(), Filters(), copy_on_write=True) == 12 * GIB
    assert needed_bytes(database(), Filters(), copy_on_write=False) == 22 * GIB
    part = Filters(exclude_tables=("x",))
    assert needed_bytes(database(), part, copy_on_write=True) == 11 * GIB
    assert needed_bytes(database(), Filters(schema_only=True), copy_on_write=False) == 0


def test_what_fits_is_not_refused() -> None:
    check_room(database(), Filters(), cache(12))
    check_room(database(), Filters(), cache(2, reclaimable_bytes=10 * GIB))
    check_room(database(), Filters(schema_only=True), cache(0))
    limited = cache(100, configured_max_bytes=20 * GIB, usage_bytes=8 * GIB)
    check_room(database(), Filters(), limited)


def test_a_full_disk_is_named_with_figures_and_tables() -> None:
    with pytest.raises(DatabaseTooLarge) as failure:
        check_room(database(), Filters(), cache(11))
    assert failure.value.code == "database_too_large"
    assert "--schema-only" in failure.value.message
    assert failure.value.details == (
        "app has 10.0 GiB, and its dump, state and instance need about 12.0 GiB; the disk of the "
        "state store has room for 11.0 GiB; largest tables: public.event 6.0 GiB, audit.log 3.0 GiB"
    )


def test_the_limit_of_the_cache_counts_if_it_is_less() -> None:
    limited = cache(100, configured_max_bytes=10 * GIB, usage_bytes=8 * GIB)
    with pytest.raises(DatabaseTooLarge, match=r"maxBytes\) has room for 2\.0 GiB"):
        check_room(database(), Filters(), limited)
    over = cache(100, configured_max_bytes=GIB, usage_bytes=8 * GIB)
    with pytest.raises(DatabaseTooLarge, match=r"room for 0 B; largest tables: none"):
        check_room(database(tables=()), Filters(), over)
