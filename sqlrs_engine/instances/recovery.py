"""Makes the servers, files and rows of instances agree after a start of the engine."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from sqlrs_engine.errors import EngineError
from sqlrs_engine.store import InstanceFilter

from .provisioner import Provisioner
from .reaper import Reaper
from .restart import Restart
from .services import Services

_RESTARTS_AT_ONCE = 4

_log = logging.getLogger(__name__)


class Recovery:
    """Adopts running servers, restarts the others, removes files without rows and the reverse."""

    def __init__(
        self, services: Services, provisioner: Provisioner, restart: Restart, reaper: Reaper
    ) -> None:
        self._services = services
        self._provisioner = provisioner
        self._restart = restart
        self._reaper = reaper
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End ``run`` after its current steps; the next use or start does the rest."""
        self._stopping.set()

    def run(self) -> None:
        """Recover everything; log what fails and leave it to the next use or start.

        A restart takes about 50 ms. Call this in a background thread, before the reaper starts.
        """
        self._attempt(self._remove_strays, "cannot remove the files of deleted instances")
        self._attempt(self._drop_rows_without_files, "cannot check the instances' files")
        # Before anything is started: expired instances need no server.
        self._attempt(self._reaper.reap, "cannot remove expired instances")
        rows = self._services.store.instances.find(InstanceFilter())
        with ThreadPoolExecutor(_RESTARTS_AT_ONCE, "instance-restart") as pool:
            for _ in pool.map(self._revive, [row.instance_id for row in rows]):
                pass

    def _attempt(self, work: Callable[[], object], failure: str) -> None:
        if self._stopping.is_set():
            return
        try:
            work()
        except (EngineError, OSError):
            _log.exception(failure)

    def _remove_strays(self) -> None:
        """Remove instance directories without a row and end the servers that run in them."""
        for container in sorted(self._services.files.instance_dirs()):
            # A creation holds the lock until its row is there.
            with self._services.locks.hold(container.name):
                if self._services.store.instances.get(container.name) is None:
                    remove = partial(self._remove_stray, container)
                    self._attempt(remove, f"cannot remove {container}")

    def _remove_stray(self, container: Path) -> None:
        if self._services.keeps(container.name):
            place = self._services.files.set_aside(container)
            _log.warning("unknown instance %s is kept in %s", container.name, place)
            return
        # Half made, half deleted, or a standby of an engine that was killed.
        _log.warning("removing the files of unknown instance %s", container.name)
        self._provisioner.clear_now(container)

    def _drop_rows_without_files(self) -> None:
        for row in self._services.store.instances.find(InstanceFilter()):
            container = self._services.files.instance_dir(row.instance_id)
            with self._services.locks.hold(row.instance_id):
                if not container.exists() and self._services.store.instances.remove(
                    row.instance_id
                ):
                    _log.warning("instance %s is gone: its files are missing", row.instance_id)

    def _revive(self, instance_id: str) -> None:
        if self._stopping.is_set() or self._services.store.instances.get(instance_id) is None:
            return
        try:
            self._restart.ensure_running(instance_id, _log.info)
        except EngineError as error:
            _log.warning("cannot restart instance %s: %s", instance_id, error)
        except Exception:
            # Whatever is wrong with this instance, the others are restarted.
            _log.exception("cannot restart instance %s", instance_id)
