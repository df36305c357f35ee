"""The database schema: creates it in new files and brings older files up to date.

New databases are created from ``entities``. ``PRAGMA user_version`` holds the version of a
file's schema, which starts at 1; each upgrade takes it to the next. Released upgrades are never
edited: a change of the entities comes with a new one at the end.
"""

import logging
import os
import sqlite3
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from pony import orm

from sqlrs_engine.errors import Conflict
from sqlrs_engine.host.disk_space import exhausted

from .connections import Connection
from .entities import INDEXES, define
from .events import Packing
from .failures import damaged, unopenable

_log = logging.getLogger(__name__)

Step = Sequence[str]

_SWITCH_ATTEMPTS = 100
_INCREMENTAL = "PRAGMA auto_vacuum = INCREMENTAL"
_VACUUM_ROOM = 2  # times the database's size: a copy, and the log that takes it back
_PRECIOUS = ("states", "instances", "names", "meta")

UPGRADES: tuple[Step, ...] = (
    (
        """
        CREATE TABLE recipes (
            state_id TEXT NOT NULL PRIMARY KEY REFERENCES states (state_id) ON DELETE CASCADE,
            recipe   TEXT NOT NULL
        )
        """,
        "CREATE TABLE meta (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE INDEX states_by_size ON states (size_bytes)",
        "CREATE INDEX jobs_by_age ON jobs (created_at)",
    ),
    (
        # An instance from the pool has its id before it is requested, so after a crash it
        # cannot be found by an id that its client chose.
        "ALTER TABLE instances ADD COLUMN made_for TEXT",
        "CREATE UNIQUE INDEX instances_by_purpose ON instances (made_for)",
    ),
    # States of earlier engines are proven at their next use.
    ("ALTER TABLE states ADD COLUMN proven BOOLEAN NOT NULL DEFAULT 0",),
    (
        # Stored behind `request`, but look-ups read the index only.
        "ALTER TABLE jobs ADD COLUMN idempotency_key TEXT",
        "CREATE UNIQUE INDEX jobs_by_idempotency_key ON jobs (idempotency_key)",
    ),
    (
        """
        CREATE TABLE event_blocks (
            job_id TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            first  INTEGER NOT NULL,
            count  INTEGER NOT NULL,
            lines  BLOB NOT NULL,
            PRIMARY KEY (job_id, first)
        )
        """,
        """
        INSERT INTO event_blocks (job_id, first, count, lines)
        SELECT job_id, min(position), count(*), pack(position, line)
          FROM events GROUP BY job_id, position / 1000
        """,
        "DROP TABLE events",
        "CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL",
    ),
    (
        # A flag besides the inputs: a state that is recovered without them must not be used again.
        "ALTER TABLE states ADD COLUMN observed BOOLEAN NOT NULL DEFAULT 0",
        "CREATE INDEX states_observed ON states (state_id) WHERE observed",
        """
        CREATE TABLE observed_inputs (
            state_id TEXT NOT NULL PRIMARY KEY REFERENCES states (state_id) ON DELETE CASCADE,
            inputs   TEXT NOT NULL
        )
        """,
    ),
)


def creation() -> Step:
    """Return the statements that create the current schema.

    Pony writes the tables. A foreign key that does not cascade refuses the deletion instead (Pony
    would set it to NULL): a state stays while something is built on it.
    """
    database = orm.Database()
    define(database)
    with ExitStack() as opened:
        connected = database.on_connect(provider="sqlite")
        connected(lambda _, connection: opened.callback(connection.close))
        database.bind("sqlite", ":memory:")
        database.generate_mapping(check_tables=False)
    schema = database.schema
    for key in (key for table in schema.tables.values() for key in table.foreign_keys.values()):
        key.on_delete = "CASCADE" if key.on_delete == "CASCADE" else "RESTRICT"
    return (*schema.generate_create_script().split(schema.command_separator), *INDEXES)


def prepare(
    path: Path,
    create: Callable[[], Step] = creation,
    upgrades: Sequence[Step] = UPGRADES,
) -> None:
    """Create the database at ``path`` (mode 0600) or bring its schema up to date.

    ``create`` returns the statements of the newest schema. Raises Conflict when the file
    belongs to another program or a newer engine, StoreDamaged when it is damaged; the file is
    then left as it was. Raises EngineError when it cannot be opened.
    """
    _create_file(path)
    with closing(sqlite3.connect(path, isolation_level=None, factory=Connection)) as connection:
        try:
            version, newest = _version(connection), len(upgrades) + 1
            if version > newest:
                raise Conflict(
                    "the state store was written by a newer version of the engine",
                    f"{path} has schema {version}, this engine knows up to {newest}: "
                    "upgrade sqlrs-engine, or use another state store",
                )
            if version == 0:
                _claim(connection, path)
                _take(connection, create(), newest)
            elif version == newest:
                _check(connection, path)
            else:
                _upgrade(connection, upgrades)
            _make_shrinkable(connection, path)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            raise damaged(path, "it is not an SQLite database") from error


def _create_file(path: Path) -> None:
    """Make an empty private file, unless there is one.

    Not by opening it: closing a descriptor drops the locks this process may hold on the
    file through SQLite.
    """
    try:
        os.mknod(path, stat.S_IFREG | 0o600)
    except FileExistsError:
        if not path.is_file():
            raise damaged(path, "it is not a file") from None
    except OSError as error:
        raise unopenable(path, error) from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise StoreDamaged unless the tables that cannot be rebuilt are readable.

    The others may be large, and hold what a new prepare makes again.
    """
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for table in found.intersection(_PRECIOUS):
        [(first, *_)] = connection.execute(f"PRAGMA quick_check({table})").fetchmany(1)
        if first != "ok":
            raise damaged(path, first)


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _claim(connection: sqlite3.Connection, path: Path) -> None:
    """Check that a file without a version is empty, and switch it to WAL for good."""
    if connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        # Another engine may be creating the very same schema: it then has a version.
        if _version(connection):
            return
        raise _foreign(path, "another program made it")
    connection.execute(_INCREMENTAL)
    mode = _switch_to_wal(connection)
    if mode != "wal":
        _log.warning("%s: no write-ahead log on this filesystem, using %s", path, mode)


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Return the journal mode after the attempt."""
    for _ in range(_SWITCH_ATTEMPTS):
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
        # The switch does not wait for others who open the file just now; this does.
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("ROLLBACK")
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def _make_shrinkable(connection: sqlite3.Connection, path: Path) -> None:
    """Let a database of an earlier version return free pages, if the disk has room for that."""
    if connection.execute("PRAGMA auto_vacuum").fetchone() == (2,):
        return
    if exhausted(path.parent, _VACUUM_ROOM * path.stat().st_size):
        _log.info("the state store cannot shrink: that takes room first")
        return
    try:
        connection.execute(_INCREMENTAL)
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        _log.warning("the state store cannot shrink: %s", error)


def _upgrade(connection: sqlite3.Connection, upgrades: Sequence[Step]) -> None:
    connection.create_aggregate("pack", 2, Packing)  # type: ignore[arg-type]
    for version, step in enumerate(upgrades, start=2):
        _take(connection, step, version)


def _take(connection: sqlite3.Connection, step: Step, version: int) -> None:
    """Run a step that leads to a version, unless the file has it, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked under the lock: another process may have taken this step by now.
        if _version(connection) < version:
            for statement in step:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _foreign(path: Path, reason: str) -> Conflict:
    return Conflict(
        "the state store's database is not this engine's",
        f"{path}: {reason}; move it away or use another state store",
    )
