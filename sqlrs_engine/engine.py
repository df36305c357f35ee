"""The composition root: builds an engine, serves it, takes it down again.

Start: lock the store, listen, open the database, write ``engine.json``, serve; recovery
runs in the background meanwhile. End (a signal, idleness): stop accepting, interrupt the
jobs so that they resume at the next start, let the requests end, remove ``engine.json``.
Instances keep running.
"""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from sqlrs_engine import ids
from sqlrs_engine.clock import utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.daemon import engine_file, heap, logs
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.daemon.listener import Listener, listen_on
from sqlrs_engine.daemon.store_lock import StoreLock
from sqlrs_engine.errors import EngineError, StorageFull
from sqlrs_engine.host.ballast import Ballast
from sqlrs_engine.host.disk_space import exhausted, is_full
from sqlrs_engine.host.file_descriptors import FEW_DESCRIPTORS, raise_descriptor_limit
from sqlrs_engine.host.private_directories import private_directory
from sqlrs_engine.postgres.os_user import OsUser, check_os_user
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.store import InstanceFilter

if TYPE_CHECKING:
    from sqlrs_engine.postgres.cluster import Cluster
    from sqlrs_engine.postgres.distributions.catalog import Distributions
    from sqlrs_engine.statefs import Backend
    from sqlrs_engine.store import MetaStore

LOCK_PATIENCE_SECONDS = 4.0
START_PATIENCE_SECONDS = 15.0
GRACE_SECONDS = 2
RUNS_GRACE_SECONDS = 2.0
JOBS_GRACE_SECONDS = 3.0
RECOVERY_GRACE_SECONDS = 5.0
TRASH_GRACE_SECONDS = 2.0

_BACKEND = "snapshot_backend"  # what the store notes it by

Announce = Callable[[str, Path], None]

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """How to run an engine.

    ``listen`` is ``HOST:PORT``; ``idle_timeout`` is in seconds, 0 or less for never;
    ``search_path`` is a ``PATH`` to look for installed PostgreSQL servers in, ``builds`` where
    those that the user has downloaded are.
    """

    listen: str
    engine_file: Path
    store_root: Path
    run_dir: Path | None = None
    idle_timeout: float = 0.0
    version: str = "dev"
    search_path: str = ""
    builds: Path | None = None


def distributions(
    store_root: Path, search_path: str, builds: Path | None = None
) -> "Distributions":
    """Return the PostgreSQL versions that a store's engine can use.

    ``builds`` is where the user's own downloads are; earlier versions kept them in the store.
    """
    from sqlrs_engine.postgres.distributions.catalog import Distributions

    search = [Path(each) for each in search_path.split(os.pathsep) if each.startswith("/")]
    return Distributions(store_root / "postgres", builds=[builds] if builds else [], search=search)


def configuration(store_root: Path) -> Config:
    """Return the configuration of a store's engine; nothing is written."""
    return Config(store_root / "config.json")


def configured(store_root: Path, path: str) -> Any:
    """Return a setting of a store's engine, whether it runs or not."""
    return configuration(store_root).value(path)


class Engine:
    """All the parts of an engine, put together, over a store it has to itself."""

    def __init__(
        self, store_root: Path, *, search_path: str = "", builds: Path | None = None
    ) -> None:
        """Build everything; nothing runs yet.

        Raises EngineError when the configuration, the database or the store's
        filesystem cannot be used.
        """
        from sqlrs_engine.cache import Cache, Disk
        from sqlrs_engine.deletion import Deletion
        from sqlrs_engine.httpapi.services import Services
        from sqlrs_engine.instances import Expiry, Instances, Leases, PostgresServers
        from sqlrs_engine.metrics import Metrics
        from sqlrs_engine.prepare.build.build_locks import BuildLocks
        from sqlrs_engine.prepare.build.builder import Builder
        from sqlrs_engine.prepare.jobs import job
        from sqlrs_engine.prepare.jobs.events import EventLog
        from sqlrs_engine.prepare.jobs.service import PrepareService
        from sqlrs_engine.prepare.planner import Planner
        from sqlrs_engine.registry import Registry
        from sqlrs_engine.runs import Runs
        from sqlrs_engine.salvage import Labels, Salvage
        from sqlrs_engine.salvage.database import open_whole
        from sqlrs_engine.sources import Sources
        from sqlrs_engine.statefs import StateFs
        from sqlrs_engine.statefs.probe import choose_backend
        from sqlrs_engine.statefs.scratch import Scratch
        from sqlrs_engine.states.states import States
        from sqlrs_engine.store.records import Instance, State
        from sqlrs_engine.store.sqlite import SqliteStore

        self._chores = chores = RetryQueue()
        self._ballast = ballast = Ballast(
            store_root,
            on_release=lambda: chores.later("restore the ballast", ballast.restore),
        )
        ballast.release_if_exhausted()
        self.config = config = Config(store_root / "config.json")
        labels = Labels(store_root)
        self.store = store = open_whole(
            store_root / "state.db",
            lambda path: SqliteStore(path, watcher=labels, give_up=ballast.release),
            replaceable=labels.complete,
        )
        user = config.settle("postgres.osUser", OsUser.for_engine)
        self._files = files = StateFs(
            store_root,
            config.settle(
                "snapshot.backend", lambda wanted: _backend(store_root, wanted, store.meta)
            ),
            owner=(user.uid, user.gid) if user else None,
            chores=chores,
        )
        config.check("postgres.osUser", check_os_user)
        config.check("snapshot.backend", partial(choose_backend, store_root))
        for problem in config.problems:
            _log.warning("configuration: %s", problem)
        found = distributions(store_root, search_path, builds)
        self._servers = servers = PostgresServers(found, user)
        self.metrics = metrics = Metrics()
        leases = Leases()
        expiry = Expiry(store, config, utc_now)
        self._salvage = salvage = Salvage(store, labels, files, expiry.deadline, utc_now)
        salvage.restore()
        registry = Registry(store, on_names_changed=expiry.renew)
        self._states = States(
            store.states, files, utc_now, keeps=lambda key: salvage.keeps(State, key)
        )
        self.cache = cache = Cache(
            store,
            files,
            leases,
            config,
            plan=lambda request: self.prepare.plan(request),
            exists=self._states.exists,
            disk=lambda: Disk.of(store_root),
            shares_blocks=files.backend.copy_on_write,
            metrics=metrics,
            give_up_spare=lambda: self.instances.pool.give_up(),
        )
        self.instances = Instances(
            store,
            files,
            servers,
            config,
            names=registry,
            leases=leases,
            expiry=expiry,
            states=self._states,
            metrics=metrics,
            room=cache,
            chores=chores,
            keeps=lambda key: salvage.keeps(Instance, key),
        )
        self._sources = sources = Sources(store_root, config, store.jobs.unfinished)
        flights = BuildLocks(config.value("orchestrator.jobs.workers"))
        self.prepare = PrepareService(
            job.Services(
                jobs=store.jobs,
                events=EventLog(store.jobs, utc_now),
                images=found,
                planner=Planner(
                    sources.blobs,
                    trees=sources.trees,
                    changelogs=store_root / "changelogs",
                    settings=config,
                    home=os.environ.get("HOME"),
                ),
                builder=Builder(files, self._states, servers, flights, metrics, cache, chores),
                states=self._states,
                leases=leases,
                instances=self.instances,
                settings=config,
                clock=utc_now,
                metrics=metrics,
                trees=sources.trees,
                room=cache,
                chores=chores,
            )
        )

        def cluster(instance: Instance) -> "Cluster":
            return servers.server(instance.image_id, files.instance_dir(instance.instance_id))

        self._scratch = Scratch(store_root)
        self.runs = Runs(
            registry,
            self.instances,
            cluster,
            renew=expiry.renew,
            scratch=self._scratch.directory,
        )
        self.services = Services(
            store=store,
            registry=registry,
            instances=self.instances,
            deletion=Deletion(store, self.instances, leases, files),
            prepare=self.prepare,
            config=config,
            metrics=metrics,
            runs=self.runs,
            cache=cache,
            sources=sources,
            warnings=lambda: ["disk_full"] if exhausted(store_root) else [],
        )
        self._add_gauges()
        self._recovery = threading.Thread(target=self._recover, name="recovery", daemon=True)
        self._stopping = threading.Event()

    def _add_gauges(self) -> None:
        from sqlrs_engine.metrics import Gauge

        store, files = self.store, self._files

        def instances() -> dict[str, float]:
            rows = store.instances.find(InstanceFilter())
            return {k: float(v) for k, v in Counter(row.status for row in rows).items()}

        for gauge in (
            Gauge("sqlrs_jobs_active", "Jobs now.", lambda: {"": self.prepare.active()}),
            Gauge("sqlrs_runs_active", "Runs now.", lambda: {"": self.runs.active()}),
            Gauge("sqlrs_instances", "Instances by status.", instances, "status"),
            Gauge(
                "sqlrs_pool_standbys",
                "Clones that run before anyone asks.",
                lambda: {"": len(self.instances.pool.standbys())},
            ),
            Gauge(
                "sqlrs_pool_bytes",
                "The memory they took when they started.",
                lambda: {"": sum(each.memory_bytes for each in self.instances.pool.standbys())},
            ),
            Gauge("sqlrs_states", "Cached states.", lambda: {"": store.states.totals().count}),
            Gauge(
                "sqlrs_state_bytes", "Their size.", lambda: {"": store.states.totals().size_bytes}
            ),
            Gauge(
                "sqlrs_store_free_bytes",
                "Free space of the store's filesystem.",
                lambda: {"": shutil.disk_usage(files.root).free},
            ),
        ):
            self.metrics.add_gauge(gauge)

    def start(self) -> None:
        """Begin to recover what an earlier engine left, and to reap, in the background."""
        self._recovery.start()

    def busy(self) -> bool:
        """Return whether work is under way that no request waits for."""
        return self.prepare.active() + self.runs.active() > 0 or self._recovery.is_alive()

    def stop(self) -> None:
        """End the runs; interrupt the jobs so that they resume at the next start.

        Instances stay.
        """
        self._stopping.set()
        steps: tuple[Callable[[], object], ...] = (
            self._chores.stop,
            self.cache.stop,
            lambda: self.runs.shutdown(RUNS_GRACE_SECONDS),
            lambda: self.prepare.shutdown(JOBS_GRACE_SECONDS),
            self.instances.pool.stop,
            self.instances.stop,
            self._sources.stop,
        )
        for step in steps:
            try:
                step()
            except Exception:
                _log.exception("a part of the engine did not stop as it should")

    def stuck(self) -> bool:
        """Return whether work goes on although it was told to end in time."""
        return self.prepare.active() + self.runs.active() > 0

    def close(self) -> None:
        """Release the store."""
        if self._recovery.is_alive():
            self._recovery.join(RECOVERY_GRACE_SECONDS)
        self._files.wait_idle(TRASH_GRACE_SECONDS)
        self.store.close()

    def _end_leftovers(self) -> bool:
        """End the servers that outlived the engine that was building on them, or reset them.

        Before instances are started: a server that was reset has the port of its successor.
        """
        for workspace in self._files.leftovers():
            try:
                self._servers.kill(workspace)
            except EngineError:
                _log.exception("cannot end what runs in %s", workspace)
                return False
        return True

    def _sweep(self) -> None:
        """Remove the files that an earlier engine left half made or half deleted."""
        self._states.sweep()
        if not self._end_leftovers():
            return  # it would delete files under a server: the next start does
        self._files.sweep()

    def _sweep_temporaries(self) -> None:
        from sqlrs_engine.config import TEMPORARY
        from sqlrs_engine.statefs import temporary_files

        temporary_files.sweep(self._files.root, TEMPORARY, temporary_files.PROBE)

    def _recover(self) -> None:
        steps: tuple[tuple[str, Callable[[], object]], ...] = (
            ("states", self._states.drop_doubtful),
            ("servers", self._end_leftovers),
            ("instances", self.instances.recover),
            ("watch", self.instances.start_watch),
            ("files", self._sweep),
            ("labels", self._salvage.settle),
            ("temporary files", self._sweep_temporaries),
            ("cache", lambda: self.cache.make_room("startup_recovery")),
            ("scratch directories", self._scratch.sweep),
            ("sources", self._sources.start),
            ("jobs", lambda: self._chores.do("resume the jobs", self.prepare.recover)),
            ("reaper", self.instances.start_reaper),
            ("pool", self.instances.pool.start),
            ("ballast", lambda: self._chores.do("make the ballast", self._ballast.restore)),
        )
        for name, step in steps:
            if self._stopping.is_set():
                return
            try:
                step()
            except Exception:
                # The engine serves what it can; the next start tries again.
                _log.exception("recovery of the %s failed", name)
        _log.info("recovered")


def run_engine(options: EngineOptions, announce: Announce | None = None) -> None:
    """Run an engine until a signal or idleness ends it.

    ``announce`` is called with the endpoint and the engine file once clients can connect.
    Raises EngineError or OSError when the engine cannot start.
    """
    _forget_libpq_environment()
    descriptors = raise_descriptor_limit()
    with _interruptible(), contextlib.ExitStack() as cleanup:
        engine_file.make_directory(options.engine_file.parent)
        private_directory(options.store_root, "the state store", closed=True)
        if options.run_dir is not None:
            private_directory(options.run_dir, "the run directory")
        lock = StoreLock(options.store_root / "engine.lock")
        lock.acquire(LOCK_PATIENCE_SECONDS, start_patience=START_PATIENCE_SECONDS)
        cleanup.callback(lock.release)
        engine: Engine | None = None
        cleanup.callback(lambda: _leave_if_stuck(engine))
        listener = listen_on(options.listen)
        cleanup.callback(listener.socket.close)
        log_file = options.engine_file.parent / "logs" / "engine.log"
        log = cleanup.enter_context(logs.logging_to(log_file))
        engine = Engine(options.store_root, search_path=options.search_path, builds=options.builds)
        cleanup.callback(engine.close)
        _follow_log_level(engine.config)
        if descriptors < FEW_DESCRIPTORS:
            _log.warning("at most %d files and connections may be open: see ulimit -n", descriptors)
        record = EngineRecord(
            endpoint=listener.endpoint,
            pid=os.getpid(),
            started_at=utc_now(),
            auth_token=secrets.token_hex(32),
            version=options.version,
            instance_id=ids.new_id(),
            state_store=str(options.store_root.absolute()),
        )
        cleanup.callback(engine_file.remove_if_ours, options.engine_file, record.instance_id)
        _write_engine_file(options.engine_file, record)
        _log.info("engine %s listens on %s", options.version, record.endpoint)
        _serve(engine, options, listener, record, lock, announce, log.let_go)
        _log.info("engine stopped")


def _leave_if_stuck(engine: "Engine | None") -> None:
    """End the process, before the store's lock is given up, when threads still work on it.

    The next engine must not meet them. What they were doing is taken up again as after any
    other crash.
    """
    if engine is not None and engine.stuck():
        os._exit(0)


def _backend(store_root: Path, wanted: str, meta: "MetaStore") -> "Backend":
    """Choose how states are cloned; on a disk too full to try, as it was chosen before.

    Raises what ``choose_backend`` does.
    """
    from sqlrs_engine.statefs.probe import choose_backend, named

    known = meta.get(_BACKEND)
    try:
        backend = choose_backend(store_root, wanted)
    except StorageFull:
        if known is None:
            raise
        return named(known["name"])
    chosen = {"name": backend.name}
    if chosen != known:
        with contextlib.suppress(StorageFull):  # it is tried again at the next start
            meta.put(_BACKEND, chosen)
    return backend


def _write_engine_file(path: Path, record: EngineRecord) -> None:
    from sqlrs_engine.statefs import temporary_files

    try:
        engine_file.write(path, record)
        temporary_files.sweep(path.parent, engine_file.temporary_prefix(path))
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageFull(
            "the engine cannot say where it listens: make room on the disk of its engine file",
            str(path),
        ) from error


def _forget_libpq_environment() -> None:
    """Drop the user's ``PG…`` variables: they would point the engine's sessions elsewhere.

    PostgreSQL docs, 34.15. There is an engine to a process, so nobody else misses them.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _serve(
    engine: Engine,
    options: EngineOptions,
    listener: Listener,
    record: EngineRecord,
    lock: StoreLock,
    announce: Announce | None,
    on_settled: Callable[[], None],
) -> None:
    from sqlrs_engine.daemon.server import Server
    from sqlrs_engine.httpapi.app import create_app

    if not listener.loopback:
        _log.warning("%s can be reached from other machines: mind the token", record.endpoint)

    def on_stop() -> None:
        lock.announce_stop()
        engine.stop()

    app = create_app(
        engine.services,
        token=record.auth_token,
        version=record.version,
        instance_id=record.instance_id,
        allowed_hosts=listener.host_names(),
    )
    server = Server(
        app,
        app.activity,
        idle_timeout=options.idle_timeout,
        busy=engine.busy,
        on_stop=on_stop,
        on_settled=on_settled,
        grace=GRACE_SECONDS,
    )
    heap.settle()
    engine.start()
    if announce is not None:
        announce(record.endpoint, options.engine_file)
    lock.announce_ready()
    server.serve_on(listener.socket)


def _follow_log_level(config: Config) -> None:
    def follow(_path: str) -> None:
        logs.set_level(config.value("log.level"))

    config.on_change(follow)
    follow("log.level")


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal end the start the way it ends the server: cleanly, with code 0."""

    def leave(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What is ignored (nohup) stays ignored.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: was for number, was in before.items() if was is not signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, leave)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
