"""One SQLite database through Pony: sessions, connections, failures.

Reads run outside transactions, on a connection of the calling thread's own, beside any
writer. They are plain SQL, so they bypass Pony, which would cost more than SQLite itself.
Writes take the write lock first (``BEGIN IMMEDIATE``), so what a transaction
reads stays true until it commits. ``synchronous = NORMAL`` keeps every committed
transaction through a crash of the engine; a power loss may take the last few, never
the database.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

# Named here because Pony imports it when binding, which threads must not do at once.
import pony.orm.dbproviders.sqlite  # noqa: F401
from pony import orm

from sqlrs_engine.errors import ENGINE_STOPPING, EngineError, StorageFull, Unavailable

from .connection import Connection
from .entities import Entities, define
from .failures import translated

_log = logging.getLogger(__name__)

T = TypeVar("T")

_SPARE_PAGES = 256
_PAGES_AT_ONCE = 1024
_CLOSE_PATIENCE = 10.0  # seconds to let calls in progress end
_WAL_LIMIT = 32 * 1024 * 1024  # bytes kept of the write-ahead log after a burst


class Session:
    """What a running transaction, or a read, can do."""

    __slots__ = ("_connect",)

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect

    def rows(self, sql: str, **params: Any) -> list[Any]:
        """Run a SELECT with ``$name`` parameters; one column comes as plain values."""
        cursor = self._connect().execute(sql, params)
        if len(cursor.description) == 1:
            return [value for (value,) in cursor]
        return cursor.fetchall()

    def row(self, sql: str, **params: Any) -> Any | None:
        """Return the first row of a SELECT, None when there is none."""
        rows = self.rows(sql, **params)
        return rows[0] if rows else None

    def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        """Run a statement with ``?`` parameters; return the number of rows changed."""
        return int(self._connect().execute(sql, params).rowcount)

    def exhaust(self, sql: str) -> None:
        """Run a statement that works on as long as it is asked for rows."""
        self._connect().execute(sql).fetchall()

    def execute_many(self, sql: str, params: Iterable[Sequence[Any]]) -> None:
        """Run a statement once a row of parameters."""
        self._connect().executemany(sql, params)


class Database:
    """A Pony database over one file, usable from any thread."""

    def __init__(
        self, path: Path, *, busy_timeout: float, give_up: Callable[[], bool] = lambda: False
    ) -> None:
        """``give_up`` gives some of the disk back, and says whether it could."""
        self._path = path
        self._give_up = give_up
        self._busy_timeout = busy_timeout
        self._connections = _Connections()
        self._readers = threading.local()
        self._lock = threading.Condition()
        self._active = 0
        self._closed = False
        self._orm = orm.Database()
        self._orm.on_connect(provider="sqlite")(_on_connect(self._connections))
        try:
            with translated(path):
                self._bind()
        except BaseException:
            self._connections.close()
            raise
        self.entities: Entities = define(self._orm)
        self._orm.generate_mapping(check_tables=False)

    def check_tables(self) -> None:
        """Raise unless every entity's table and columns exist."""
        self._orm.check_tables()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session whose SELECTs each see the latest committed rows."""
        with self._in_use(), translated(self._path):
            yield Session(self._reader)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a write transaction: committed at the end, undone by an exception.

        Raises Unavailable when another process holds the write lock for too long,
        StorageFull when the disk is full.
        """
        with self._in_use(), translated(self._path), orm.db_session(immediate=True):
            yield Session(self._writer)

    def freeing(self, work: Callable[[Session], T]) -> T:
        """Run a write transaction of which room comes, if need be with room given up for it.

        ``work`` may be called several times. Raises what ``writing`` does.
        """
        while True:
            try:
                with self.writing() as session:
                    return work(session)
            except StorageFull:
                if not self._give_up():
                    raise

    def shrink(self) -> None:
        """Give what deleted rows have left back to the filesystem, a little at a time.

        Some of it stays for the rows to come. Whatever keeps it from that is logged.
        """
        try:
            while self._shrink_a_little():
                pass
        except EngineError as error:
            _log.info("the state store does not shrink now: %s", error)

    def _shrink_a_little(self) -> bool:
        """Give some pages back; tell whether there are more."""
        with self.reading() as session:
            free = int(session.row("PRAGMA freelist_count") or 0)
        if free <= _SPARE_PAGES:
            return False
        with self.writing() as session:
            pages = min(free - _SPARE_PAGES, _PAGES_AT_ONCE)
            session.exhaust(f"PRAGMA incremental_vacuum({pages})")
            return int(session.row("PRAGMA freelist_count") or 0) < free

    def close(self) -> None:
        """Let the calls in progress end, then close every thread's connection."""
        with self._lock:
            self._closed = True
            if not self._lock.wait_for(lambda: self._active == 0, _CLOSE_PATIENCE):
                _log.warning("closing the state store under %d calls in progress", self._active)
        self._connections.close()

    def _reader(self) -> sqlite3.Connection:
        """Return the calling thread's connection for reads."""
        try:
            connection: sqlite3.Connection = self._readers.connection
        except AttributeError:
            connection = sqlite3.connect(
                self._path,
                timeout=self._busy_timeout,
                isolation_level=None,
                check_same_thread=False,  # closed by whoever closes us
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
        self._orm.bind(
            "sqlite",
            # Pony takes a relative path from the calling module's directory.
            str(self._path.absolute()),
            timeout=self._busy_timeout,
            # A connection is used by one thread, but closed by whoever closes us.
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


class _Connections:
    """The open connections: each a thread's own, closed when it ends or the store does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[sqlite3.Connection] = set()
        self._thread = threading.local()

    def add(self, connection: sqlite3.Connection) -> None:
        """Take charge of the calling thread's connection."""
        with self._lock:
            self._open.add(connection)
        # Dropped with the thread's locals, the guards close what Pony would leak.
        guards = self._thread.__dict__.setdefault("guards", [])
        guards.append(_Guard(lambda: self._discard(connection)))

    def close(self) -> None:
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            connection.close()

    def _discard(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()


class _Guard:
    """Calls a function when the last reference to it goes."""

    __slots__ = ("_at_end",)

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._at_end = at_end

    def __del__(self) -> None:
        self._at_end()


def _on_connect(connections: _Connections) -> Callable[[Any, sqlite3.Connection], None]:
    def prepare(_: Any, connection: sqlite3.Connection) -> None:
        connections.add(connection)
        connection.text_factory = str  # Pony's calls Python code for every value
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")

    return prepare
