"""The database schema, as ordered steps, and how a file is brought up to date.

``PRAGMA user_version`` holds the number of the last step taken. Steps already released
are never edited: a change of the schema is a new step at the end.
"""

import logging
import os
import sqlite3
import stat
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlrs_engine.errors import Conflict
from sqlrs_engine.host.disk_space import exhausted

from .connection import Connection
from .events import Packing
from .failures import damaged, unopenable

_log = logging.getLogger(__name__)

Step = Sequence[str]

_SWITCH_ATTEMPTS = 100
_INCREMENTAL = "PRAGMA auto_vacuum = INCREMENTAL"
_VACUUM_ROOM = 2  # times the database's size: a copy, and the log that takes it back
_PRECIOUS = ("states", "instances", "names", "meta")

# Ids are lower-case hexadecimal text; times are fixed-width RFC 3339 text, so both
# compare as text. Foreign keys that restrict keep a state alive while something is
# built on it. A name has none: it outlives its instance.
STEPS: tuple[Step, ...] = (
    (
        """
        CREATE TABLE states (
            state_id                TEXT NOT NULL PRIMARY KEY,
            parent_state_id         TEXT REFERENCES states (state_id) ON DELETE RESTRICT,
            image_id                TEXT NOT NULL,
            prepare_kind            TEXT NOT NULL,
            prepare_args_normalized TEXT NOT NULL,
            created_at              TEXT NOT NULL,
            size_bytes              INTEGER,
            last_used_at            TEXT,
            use_count               INTEGER NOT NULL DEFAULT 0,
            min_retention_until     TEXT,
            boot_id                 TEXT
        )
        """,
        "CREATE INDEX states_by_parent ON states (parent_state_id)",
        "CREATE INDEX states_by_image ON states (image_id)",
        "CREATE INDEX states_undurable ON states (state_id) WHERE boot_id IS NOT NULL",
        """
        CREATE TABLE instances (
            instance_id TEXT NOT NULL PRIMARY KEY,
            image_id    TEXT NOT NULL,
            state_id    TEXT NOT NULL REFERENCES states (state_id) ON DELETE RESTRICT,
            created_at  TEXT NOT NULL,
            port        INTEGER NOT NULL UNIQUE,
            password    TEXT NOT NULL,
            ttl         REAL,
            protected   BOOLEAN NOT NULL DEFAULT 0,
            expires_at  TEXT,
            activity_at TEXT,
            sessions    INTEGER NOT NULL DEFAULT 0,
            runtime_id  TEXT
        )
        """,
        "CREATE INDEX instances_by_state ON instances (state_id)",
        "CREATE INDEX instances_by_image ON instances (image_id)",
        """
        CREATE TABLE names (
            name              TEXT NOT NULL PRIMARY KEY,
            instance_id       TEXT,
            image_id          TEXT NOT NULL,
            state_id          TEXT NOT NULL,
            state_fingerprint TEXT,
            last_used_at      TEXT,
            bound_at          TEXT NOT NULL
        )
        """,
        "CREATE INDEX names_by_instance ON names (instance_id, bound_at, name)",
        "CREATE INDEX names_by_state ON names (state_id)",
        # `request` comes last: it may hold megabytes of standard input, and a column
        # behind it could only be read by walking all of them.
        """
        CREATE TABLE jobs (
            job_id                  TEXT NOT NULL PRIMARY KEY,
            status                  TEXT NOT NULL,
            prepare_kind            TEXT NOT NULL,
            image_id                TEXT NOT NULL,
            created_at              TEXT NOT NULL,
            plan_only               BOOLEAN NOT NULL DEFAULT 0,
            resolved_image_id       TEXT,
            prepare_args_normalized TEXT,
            signature               TEXT,
            started_at              TEXT,
            finished_at             TEXT,
            result                  TEXT,
            error                   TEXT,
            request                 TEXT NOT NULL
        )
        """,
        "CREATE INDEX jobs_by_signature ON jobs (signature, finished_at)",
        """
        CREATE INDEX jobs_unfinished ON jobs (created_at)
        WHERE status IN ('queued', 'running')
        """,
        """
        CREATE TABLE tasks (
            job_id            TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            task_id           TEXT NOT NULL,
            position          INTEGER NOT NULL,
            type              TEXT NOT NULL,
            status            TEXT NOT NULL,
            planner_kind      TEXT,
            input_kind        TEXT,
            input_id          TEXT,
            image_id          TEXT,
            resolved_image_id TEXT,
            task_hash         TEXT,
            output_state_id   TEXT,
            cached            BOOLEAN,
            instance_mode     TEXT,
            changeset_id      TEXT,
            changeset_author  TEXT,
            changeset_path    TEXT,
            args_summary      TEXT,
            PRIMARY KEY (job_id, task_id)
        )
        """,
        """
        CREATE TABLE events (
            job_id   TEXT NOT NULL REFERENCES jobs (job_id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            line     BLOB NOT NULL,
            PRIMARY KEY (job_id, position)
        ) WITHOUT ROWID
        """,
    ),
    (
        # A table of its own: lists of states need not read past what may be large.
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
        # An instance that the pool hands over has its id before anyone asks for it, so
        # whoever must find it again after a crash cannot by an id of his choice.
        "ALTER TABLE instances ADD COLUMN made_for TEXT",
        "CREATE UNIQUE INDEX instances_by_purpose ON instances (made_for)",
    ),
    # States of earlier engines prove themselves at their next use.
    ("ALTER TABLE states ADD COLUMN proven BOOLEAN NOT NULL DEFAULT 0",),
    (
        # Behind `request`, but the index is all that is read of it where that is not.
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
)


def prepare(path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Create the database at ``path`` (mode 0600) or bring its schema up to date.

    Raises Conflict when the file is not ours or was written by a newer engine, StoreDamaged
    when it is not whole; it is then left as it was. Raises EngineError when it cannot be
    opened.
    """
    _create(path)
    with closing(sqlite3.connect(path, isolation_level=None, factory=Connection)) as connection:
        try:
            version = _version(connection)
            if version == len(steps):
                _check(connection, path, steps)
                _make_shrinkable(connection, path)
                return
            if version == 0:
                _claim(connection, path)
            if version > len(steps):
                raise Conflict(
                    "the state store was written by a newer version of the engine",
                    f"{path} has schema {version}, this engine knows up to {len(steps)}: "
                    "upgrade sqlrs-engine, or use another state store",
                )
            _migrate(connection, steps)
            _make_shrinkable(connection, path)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_NOTADB:
                raise
            raise damaged(path, "it is not an SQLite database") from error


def _create(path: Path) -> None:
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


def _check(connection: sqlite3.Connection, path: Path, steps: Sequence[Step]) -> None:
    """Raise StoreDamaged unless all tables are there and the precious ones are readable.

    The others may be large, and hold what a new prepare makes again.
    """
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    missing = sorted(_tables(steps) - found)
    if missing:
        raise damaged(path, f"it has no table {', '.join(missing)}")
    for table in _PRECIOUS:
        if table in found:
            [(first, *_)] = connection.execute(f"PRAGMA quick_check({table})").fetchmany(1)
            if first != "ok":
                raise damaged(path, first)


def _tables(steps: Sequence[Step]) -> set[str]:
    tables = set()
    for step in steps:
        for statement in step:
            words = statement.split(maxsplit=3)
            if words[:2] == ["CREATE", "TABLE"]:
                tables.add(words[2])
            if words[:2] == ["DROP", "TABLE"]:
                tables.discard(words[2])
    return tables


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
    """Let a database of an earlier version give free pages back: at a start with room for it."""
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


def _migrate(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    """Take the missing steps, each in a transaction of its own."""
    connection.create_aggregate("pack", 2, Packing)  # type: ignore[arg-type]
    for number, step in enumerate(steps, start=1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Asked under the lock: another process may have taken this step by now.
            if _version(connection) < number:
                for statement in step:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _foreign(path: Path, reason: str) -> Conflict:
    return Conflict(
        "the state store's database is not this engine's",
        f"{path}: {reason}; move it away or use another state store",
    )
