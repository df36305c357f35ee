"""How the database is opened: for this process alone, without shared memory.

SQLite's ``unix-excl`` keeps the index of the write-ahead log on the heap, where all
connections of the process share it. The usual one is a memory-mapped file, and to touch such a
file's page on a full disk kills the process (SIGBUS) where the filesystem copies on write.
Another process finds the database locked: there is an engine to a store.
"""

import sqlite3
from pathlib import Path
from typing import Any


class Connection(sqlite3.Connection):
    """A connection; made by ``sqlite3.connect(path, factory=Connection, …)``."""

    def __init__(self, database: Path | str, **options: Any) -> None:
        name = f"{Path(database).absolute().as_uri()}?vfs=unix-excl"
        super().__init__(name, **{**options, "uri": True})
