"""An opened state store: its configuration, database, filesystem and ballast."""

import contextlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlrs_engine.config import Config
from sqlrs_engine.errors import StorageFull
from sqlrs_engine.host.ballast import Ballast
from sqlrs_engine.postgres.os_user import OsUser, check_os_user
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.salvage import Labels
from sqlrs_engine.salvage.database import open_whole
from sqlrs_engine.statefs import Backend, StateFs, probe
from sqlrs_engine.store import MetaStore, Store
from sqlrs_engine.store.sqlite import SqliteStore

_BACKEND = "snapshot_backend"  # the key under which the database remembers the backend

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A state store, opened. ``os_user`` runs the servers and owns their directories."""

    config: Config
    database: Store
    labels: Labels
    files: StateFs
    os_user: OsUser | None
    ballast: Ballast
    retries: RetryQueue


def open_storage(root: Path) -> Storage:
    """Open everything below ``root``, in the order in which the parts need each other.

    The ballast comes first: the database cannot be opened on a full disk.

    Raises:
        EngineError: The configuration, the database or the filesystem cannot be used.
    """
    retries = RetryQueue()
    ballast = Ballast(
        root, on_release=lambda: retries.later("restore the ballast", ballast.restore)
    )
    ballast.release_if_exhausted()
    config = Config(root / "config.json")
    labels = Labels(root)
    database = open_whole(
        root / "state.db",
        lambda path: SqliteStore(path, watcher=labels, free_space=ballast.release),
        replaceable=labels.complete,
    )
    os_user = config.settle("postgres.osUser", OsUser.for_engine)
    backend = config.settle(
        "snapshot.backend", lambda wanted: _choose_backend(root, wanted, database.meta)
    )
    owner = (os_user.uid, os_user.gid) if os_user else None
    files = StateFs(root, backend, owner=owner, retries=retries)
    config.check("postgres.osUser", check_os_user)
    config.check("snapshot.backend", partial(probe.choose_backend, root))
    for problem in config.problems:
        _log.warning("configuration: %s", problem)
    return Storage(
        config=config,
        database=database,
        labels=labels,
        files=files,
        os_user=os_user,
        ballast=ballast,
        retries=retries,
    )


def _choose_backend(root: Path, wanted: str, meta: MetaStore) -> Backend:
    """Choose how states are cloned; on a disk too full to probe, keep the previous choice.

    Raises what ``choose_backend`` raises.
    """
    known = meta.get(_BACKEND)
    try:
        backend = probe.choose_backend(root, wanted)
    except StorageFull:
        if known is None:
            raise
        return probe.named(known["name"])
    chosen = {"name": backend.name}
    if chosen != known:
        with contextlib.suppress(StorageFull):  # the next start tries again
            meta.put(_BACKEND, chosen)
    return backend
