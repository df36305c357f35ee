"""The store in one SQLite file, through Pony.

``entities`` declares the tables; every write and every read that is not hot goes through them.
``hot_reads`` holds the reads that bypass Pony, with their measurements.
"""

from collections.abc import Callable, Collection
from pathlib import Path

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.store import (
    InstanceStore,
    JobStore,
    Labelled,
    MetaStore,
    NameStore,
    StateStore,
    Watcher,
)

from . import schema
from .database import Database
from .failures import translated
from .instances import Instances
from .jobs import Jobs
from .meta import Meta
from .names import Names
from .states import States

__all__ = ["SqliteStore"]


class SqliteStore:
    """``store.Store`` in one file, usable from any thread.

    ``clock`` decides what counts as expired; ``busy_timeout`` is how many seconds a
    write waits for another process's.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock = utc_now,
        busy_timeout: float = 10.0,
        watcher: Watcher | None = None,
        free_space: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the database at ``path``, creating it or bringing its schema up to date.

        ``watcher`` follows its rows. ``free_space`` frees space on a full disk and returns
        whether it could; rows can be deleted as long as it can.

        Raises Conflict when the file belongs to another program or a newer engine, Unavailable
        when another process keeps it locked, StoreDamaged when it is damaged, EngineError when
        it cannot be opened or read, StorageFull when opening it takes more room than there is.
        """
        with translated(path):
            schema.prepare(path)
        self.database = Database(path, busy_timeout=busy_timeout, free_space=free_space)
        watching = watcher or _Unwatched()
        self.states: StateStore = States(self.database, watching)
        self.instances: InstanceStore = Instances(self.database, clock, watching)
        self.names: NameStore = Names(self.database, clock, watching)
        self.jobs: JobStore = Jobs(self.database)
        self.meta: MetaStore = Meta(self.database)

    def close(self) -> None:
        """Release the database; later calls raise Unavailable."""
        self.database.close()


class _Unwatched:
    """``Watcher`` of a store without one."""

    def stored(self, record: Labelled, changed: Collection[str] | None = None) -> None:
        """Do nothing."""

    def removed(self, kind: type[Labelled], key: str) -> None:
        """Do nothing."""
