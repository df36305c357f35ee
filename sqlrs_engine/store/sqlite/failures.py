"""Failures of SQLite, which Pony wraps, as errors of the engine."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pony import orm
from pony.orm.dbapiprovider import DBException

from sqlrs_engine.errors import DISK_FULL, EngineError, StorageFull, StoreDamaged, Unavailable
from sqlrs_engine.host.disk_space import exhausted, is_full
from sqlrs_engine.host.file_descriptors import no_descriptors, out_of_descriptors

_DISK = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn failures of the database at ``path`` that a user can fix into errors of the engine.

    Raises StorageFull, Unavailable when another process holds a lock, StoreDamaged, EngineError
    when the file cannot be opened or read; other exceptions pass unchanged.
    """
    try:
        yield
    except (sqlite3.Error, DBException, orm.OrmError) as error:
        translated = _translate(_sqlite_error(error), path)
        if translated is None:
            raise
        raise translated from error


def _sqlite_error(error: BaseException) -> BaseException:
    """Unwrap SQLite's own exception from Pony's."""
    while True:
        if isinstance(error, orm.TransactionError) and getattr(error, "exceptions", None):
            error = error.exceptions[0][1]
        elif isinstance(getattr(error, "original_exc", None), Exception):
            error = error.original_exc  # type: ignore[attr-defined]
        else:
            return error


def _translate(error: BaseException, path: Path) -> EngineError | None:
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None  # the upper bits refine it
    # On a full disk SQLite may also fail to open, to lock, or to write with other errors.
    if primary == sqlite3.SQLITE_FULL or (primary in _DISK and exhausted(path.parent)):
        return _full(path)
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable(
            "the state store is busy",
            f"another process holds a lock on {path}; try again when it has finished",
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return damaged(path, str(error))
    if primary == sqlite3.SQLITE_ERROR and str(error).startswith(
        ("no such table", "no such column")
    ):
        return damaged(path, str(error))
    if primary == sqlite3.SQLITE_IOERR:
        return EngineError(
            "the state store's database cannot be read", f"{path}: {error}; check the disk"
        )
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return unopenable(path, error)
    return None


def damaged(path: Path, reason: str) -> StoreDamaged:
    """Return the error for a damaged database."""
    return StoreDamaged(
        "the state store's database is damaged",
        f"{path}: {reason}; stop the engine, then put a backup in the file's place, or "
        "move the file away: the next start recovers the states and instances",
    )


def unopenable(path: Path, error: BaseException) -> EngineError:
    """Return the error for a file that cannot be opened or written."""
    if is_full(error):
        return _full(path)
    if out_of_descriptors():
        return no_descriptors()
    return EngineError(
        "the state store's database cannot be opened for writing",
        f"{path}: {error}; check its permissions and those of its directory",
    )


def _full(path: Path) -> StorageFull:
    return StorageFull(
        DISK_FULL,
        str(path),
    )
