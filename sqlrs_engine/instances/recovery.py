"""After a start of the engine: make servers, files and rows agree again."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from sqlrs_engine.errors import EngineError
from sqlrs_engine.store import InstanceFilter

from .lifecycle import Lifecycle
from .provisioner import Provisioner
from .reaper import Reaper
from .services import Services

_RESTARTS_AT_ONCE = 4

_log = logging.getLogger(__name__)


class Recovery:
    """Re-adopts living servers, restarts dead ones, removes what belongs to no instance."""

    def __init__(
        self, deps: Services, assembly: Provisioner, lifecycle: Lifecycle, reaper: Reaper
    ) -> None:
        self._deps = deps
        self._assembly = assembly
        self._lifecycle = lifecycle
        self._reaper = reaper
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Leave the rest to the next use or start; what is under way is finished."""
        self._stopping.set()

    def run(self) -> None:
        """Recover everything; what fails is logged and left to the next use or start."""
        self._attempt(self._remove_strays, "cannot remove the files of deleted instances")
        self._attempt(self._drop_rows_without_files, "cannot check the instances' files")
        # Before anything is started: the expired need no server any more.
        self._attempt(self._reaper.reap, "cannot remove expired instances")
        rows = self._deps.store.instances.find(InstanceFilter())
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
        """Remove instance directories without a row, ending what runs there."""
        for container in sorted(self._deps.files.instance_dirs()):
            # A creation under way holds the lock until its row is there.
            with self._deps.locks.hold(container.name):
                if self._deps.store.instances.get(container.name) is None:
                    remove = partial(self._remove_stray, container)
                    self._attempt(remove, f"cannot remove {container}")

    def _remove_stray(self, container: Path) -> None:
        if self._deps.keeps(container.name):
            place = self._deps.files.set_aside(container)
            _log.warning("unknown instance %s is kept, as it is, in %s", container.name, place)
            return
        # Half made or half deleted, or a standby of an engine that was killed.
        _log.warning("removing the files of unknown instance %s", container.name)
        self._assembly.scrap(container)

    def _drop_rows_without_files(self) -> None:
        for row in self._deps.store.instances.find(InstanceFilter()):
            container = self._deps.files.instance_dir(row.instance_id)
            with self._deps.locks.hold(row.instance_id):
                if not container.exists() and self._deps.store.instances.remove(row.instance_id):
                    _log.warning("instance %s is gone: its files are missing", row.instance_id)

    def _revive(self, instance_id: str) -> None:
        if self._stopping.is_set() or self._deps.store.instances.get(instance_id) is None:
            return
        try:
            self._lifecycle.ensure_running(instance_id, _log.info)
        except EngineError as error:
            _log.warning("cannot restart instance %s: %s", instance_id, error)
        except Exception:
            # Whatever is wrong with this one, the others must not stay down for it.
            _log.exception("cannot restart instance %s", instance_id)
