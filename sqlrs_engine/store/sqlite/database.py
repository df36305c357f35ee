"""An SQLite database through Pony: sessions, failures, disk space.

Reads run outside transactions, beside any writer, each on a connection of the calling
thread. Writes take the write lock first (``BEGIN IMMEDIATE``), so that what a transaction
reads stays true until it commits; Pony's optimistic checks have nothing left to find and are
off. ``synchronous = NORMAL`` keeps every committed transaction through a crash of the
engine; a power loss may take the last few, never the database.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

# Named here because Pony imports it when binding, which threads must not do at once.
import pony.orm.dbproviders.sqlite  # noqa: F401
from pony import orm

from sqlrs_engine.errors import ENGINE_STOPPING, EngineError, StorageFull, Unavailable

from .connections import Connection, Connections
from .entities import Entities, define
from .failures import translated

_log = logging.getLogger(__name__)

T = TypeVar("T")

_SPARE_PAGES = 256
_PAGES_AT_ONCE = 1024
_CLOSE_PATIENCE = 10.0  # seconds to let calls in progress end


class Session:
    """Plain SELECTs, for ``hot_reads``, that bypass Pony; in a transaction, they see its writes."""

    __slots__ = ("_connect",)

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect

    def rows(self, sql: str, **params: Any) -> list[Any]:
        """Return all rows of a SELECT with ``$name`` parameters; one column as plain values."""
        cursor = self._connect().execute(sql, params)
        rows = cursor.fetchall()
        return [value for (value,) in rows] if rows and len(rows[0]) == 1 else rows

    def row(self, sql: str, **params: Any) -> Any | None:
        """Return the first row of a SELECT, None when there is none."""
        rows = self.rows(sql, **params)
        return rows[0] if rows else None


class Database:
    """A Pony database over one file, usable from any thread."""

    def __init__(
        self, path: Path, *, busy_timeout: float, free_space: Callable[[], bool] = lambda: False
    ) -> None:
        """Open the database at ``path``, which has the current schema.

        ``busy_timeout`` is how many seconds a write waits for another process's.
        ``free_space`` frees some space on the disk and returns whether it could.

        Raises StoreDamaged when a table or a column is missing, and what ``translated`` does.
        """
        self._path = path
        self._free_space = free_space
        self._busy_timeout = busy_timeout
        self._connections = Connections()
        self._readers = threading.local()
        self._lock = threading.Condition()
        self._active = 0
        self._closed = False
        self._orm = orm.Database()
        self.entities: Entities = define(self._orm)
        try:
            with translated(path):
                self._bind()
                self._orm.generate_mapping()
        except BaseException:
            self._connections.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Open a session for queries of the entities, which see the latest committed rows."""
        with self._in_use(), translated(self._path), orm.db_session:
            yield

    @contextmanager
    def reading_past_pony(self) -> Iterator[Session]:
        """Open a session for ``hot_reads``, which see the latest committed rows."""
        with self._in_use(), translated(self._path):
            yield Session(self._reader)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a write transaction: committed at the end, undone by an exception.

        Raises Unavailable when another process holds the write lock for too long,
        StorageFull when the disk is full.
        """
        with self._in_use(), translated(self._path), orm.db_session(optimistic=False):
            yield Session(self._writer)

    def execute(self, sql: str, **params: Any) -> None:
        """Run a statement with ``$name`` parameters in the thread's write transaction.

        For what Pony does only row by row; entities read before do not show the change.
        """
        self._orm.execute(sql, {}, params)

    def freeing(self, transaction: Callable[[], T]) -> T:
        """Run a write transaction that frees disk space; if it needs some first, free other space.

        ``transaction`` may be called several times. Raises what ``writing`` does.
        """
        while True:
            try:
                with self.writing():
                    return transaction()
            except StorageFull:
                if not self._free_space():
                    raise

    def shrink(self) -> None:
        """Return the space of deleted rows to the filesystem, a little at a time.

        Some of it stays for new rows. A failure is logged.
        """
        try:
            while self._shrink_a_little():
                pass
        except EngineError as error:
            _log.info("the state store does not shrink now: %s", error)

    def _shrink_a_little(self) -> bool:
        """Return some pages to the filesystem; return whether there are more."""
        with self.reading_past_pony() as session:
            free = int(session.row("PRAGMA freelist_count") or 0)
        if free <= _SPARE_PAGES:
            return False
        with self.writing() as session:
            pages = min(free - _SPARE_PAGES, _PAGES_AT_ONCE)
            session.rows(f"PRAGMA incremental_vacuum({pages})")  # a row for each page
            return int(session.row("PRAGMA freelist_count") or 0) < free

    def close(self) -> None:
        """Let the calls in progress end, then close every thread's connection."""
        with self._lock:
            self._closed = True
            if not self._lock.wait_for(lambda: self._active == 0, _CLOSE_PATIENCE):
                _log.warning("closing the state store under %d calls in progress", self._active)
        self._connections.close()

    def _reader(self) -> sqlite3.Connection:
        """Return the calling thread's connection for reads that bypass Pony."""
        try:
            connection: sqlite3.Connection = self._readers.connection
        except AttributeError:
            connection = sqlite3.connect(
                self._path,
                timeout=self._busy_timeout,
                isolation_level=None,
                check_same_thread=False,  # `close` runs in any thread
                factory=Connection,
            )
            self._connections.add(connection)
            connection.execute("PRAGMA query_only = ON")
            self._readers.connection = connection
        return connection

    def _writer(self) -> sqlite3.Connection:
        """Return the connection of the calling thread's transaction."""
        self._orm.flush()  # entities changed before go first
        connection: sqlite3.Connection = self._orm.get_connection()
        return connection

    def _bind(self) -> None:
        # A lambda, because Pony ignores what is not a plain function.
        connected = self._orm.on_connect(provider="sqlite")
        connected(lambda _, connection: self._connections.set_up(connection))
        self._orm.bind(
            "sqlite",
            # Pony takes a relative path from the calling module's directory.
            str(self._path.absolute()),
            timeout=self._busy_timeout,
            # Each connection is used by one thread, but `close` runs in any.
            check_same_thread=False,
            factory=Connection,
        )

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise Unavailable(ENGINE_STOPPING)
            self._active += 1
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1
                if self._closed:
                    self._lock.notify_all()
