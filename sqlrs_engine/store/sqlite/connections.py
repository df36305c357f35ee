"""Connections to the database: each is opened with the right settings and closed in time."""

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WAL_LIMIT = 32 * 1024 * 1024  # bytes kept of the write-ahead log after a burst


class Connection(sqlite3.Connection):
    """A connection for this process alone; made by ``sqlite3.connect(path, factory=Connection)``.

    SQLite's ``unix-excl`` keeps the index of the write-ahead log on the heap, where all
    connections of the process share it. By default it is a memory-mapped file, and touching a
    page of such a file on a full disk kills the process (SIGBUS) where the filesystem copies on
    write. Another process finds the database locked: a store belongs to one engine.
    """

    def __init__(self, database: Path | str, **options: Any) -> None:
        name = f"{Path(database).absolute().as_uri()}?vfs=unix-excl"
        super().__init__(name, **{**options, "uri": True})


class Connections:
    """The open connections: each belongs to a thread and closes with it, or with the store.

    Pony leaks both: its connection of a thread that ended stays open until the garbage
    collector runs, and its ``disconnect`` closes the connection of the calling thread only.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[sqlite3.Connection] = set()
        self._thread = threading.local()

    def add(self, connection: sqlite3.Connection) -> None:
        """Adopt a connection of the calling thread, and close it in the end."""
        with self._lock:
            self._open.add(connection)
        guards = self._thread.__dict__.setdefault("guards", [])
        guards.append(_Guard(lambda: self._discard(connection)))

    def set_up(self, connection: sqlite3.Connection) -> None:
        """Set up and adopt a connection that Pony has opened."""
        self.add(connection)
        connection.text_factory = str  # Pony's calls Python code for every value
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            connections, self._open = self._open, set()
        for connection in connections:
            connection.close()

    def _discard(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.close()


class _Guard:
    """Calls a function when the last reference to it goes, as with its thread's locals."""

    __slots__ = ("_at_end",)

    def __init__(self, at_end: Callable[[], None]) -> None:
        self._at_end = at_end

    def __del__(self) -> None:
        self._at_end()
