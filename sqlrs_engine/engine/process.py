"""The engine's process: from the store's lock to the last clean-up.

Start: lock the store, listen, open the store, write ``engine.json``, serve; recovery runs in the
background. End (a signal, idleness): stop accepting, interrupt the jobs so that they resume at the
next start, let the requests end, remove ``engine.json``. Instances keep running.
"""

import contextlib
import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrs_engine import ids
from sqlrs_engine.clock import utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.daemon import engine_file, heap, logs
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.daemon.listener import Listener, listen_on
from sqlrs_engine.daemon.signals import ending_cleanly
from sqlrs_engine.daemon.store_lock import StoreLock
from sqlrs_engine.errors import StorageFull
from sqlrs_engine.host.disk_space import is_full
from sqlrs_engine.host.file_descriptors import FEW_DESCRIPTORS, raise_descriptor_limit
from sqlrs_engine.host.private_directories import private_directory

from .options import EngineOptions

if TYPE_CHECKING:
    from .composition import Engine

LOCK_PATIENCE_SECONDS = 4.0
START_PATIENCE_SECONDS = 15.0
GRACE_SECONDS = 2

Announce = Callable[[str, Path], None]

_log = logging.getLogger(__name__)


def run_engine(options: EngineOptions, announce: Announce | None = None) -> None:
    """Run an engine until a signal or idleness ends it.

    ``announce`` is called with the endpoint and the engine file once clients can connect.

    Raises:
        EngineError: The engine cannot start.
        OSError: A file or directory that it needs cannot be used.
    """
    _forget_libpq_environment()
    descriptors = raise_descriptor_limit()
    with ending_cleanly(), contextlib.ExitStack() as cleanup:
        engine_file.make_directory(options.engine_file.parent)
        private_directory(options.store_root, "the state store", closed=True)
        if options.run_dir is not None:
            private_directory(options.run_dir, "the run directory")
        lock = StoreLock(options.store_root / "engine.lock")
        lock.acquire(LOCK_PATIENCE_SECONDS, start_patience=START_PATIENCE_SECONDS)
        cleanup.callback(lock.release)
        engine: Engine | None = None
        cleanup.callback(lambda: exit_if_stuck(engine))
        listener = listen_on(options.listen)
        cleanup.callback(listener.socket.close)
        log_file = options.engine_file.parent / "logs" / "engine.log"
        log = cleanup.enter_context(logs.logging_to(log_file))
        engine = _build(options)
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
        _serve(engine, options, listener, record, lock, announce, log.stop_holding)
        _log.info("engine stopped")


def exit_if_stuck(engine: "Engine | None") -> None:
    """End the process when threads still work on the store that is about to be unlocked.

    They must not run beside the next engine, which resumes their work as after any other crash.
    """
    if engine is not None and engine.stuck():
        os._exit(0)


def _build(options: EngineOptions) -> "Engine":
    # Imported here: most of the engine's modules load while clients' connections already queue.
    from .composition import Engine

    return Engine(
        options.store_root,
        search_path=options.search_path,
        builds=options.builds,
        images=options.images,
    )


def _write_engine_file(path: Path, record: EngineRecord) -> None:
    from sqlrs_engine.statefs import temporary_files

    try:
        engine_file.write(path, record)
        temporary_files.sweep(path.parent, engine_file.temporary_prefix(path))
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageFull(
            "cannot write the engine file: free space on its disk",
            str(path),
        ) from error


def _forget_libpq_environment() -> None:
    """Drop the user's ``PG…`` variables: they would point the engine's sessions elsewhere.

    PostgreSQL docs, 34.15. A process runs one engine, so nothing else needs them.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _follow_log_level(config: Config) -> None:
    def follow(_path: str) -> None:
        logs.set_level(config.value("log.level"))

    config.on_change(follow)
    follow("log.level")


def _serve(
    engine: "Engine",
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
        _log.warning(
            "%s can be reached from other machines: keep the token secret", record.endpoint
        )

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
