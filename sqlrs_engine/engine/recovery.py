"""Recovery: brings back what an earlier engine left, on its own thread."""

import logging
import threading
from collections.abc import Callable, Iterable

from sqlrs_engine.config import TEMPORARY
from sqlrs_engine.errors import EngineError
from sqlrs_engine.instances import Servers
from sqlrs_engine.processes.leftovers import kill_leftovers
from sqlrs_engine.statefs import StateFs, temporary_files
from sqlrs_engine.states.states import States

Step = tuple[str, Callable[[], object]]

_KILL_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Recovery:
    """Runs its steps once, in order, on a thread.

    A step that fails is logged and the next one runs: the engine serves what it can, and its next
    start tries again.
    """

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = tuple(steps)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="recovery", daemon=True)

    def start(self) -> None:
        """Begin, in the background."""
        self._thread.start()

    def run(self) -> None:
        """Run the steps; return early, between two of them, after ``stop``."""
        for name, step in self._steps:
            if self._stopping.is_set():
                return
            try:
                step()
            except Exception:
                # The next step does not depend on this one.
                _log.exception("recovery of the %s failed", name)
        _log.info("recovered")

    def running(self) -> bool:
        """Return whether a step is under way."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Begin no further step."""
        self._stopping.set()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, at most this many seconds."""
        if self._thread.is_alive():
            self._thread.join(seconds)


class Leftovers:
    """Servers, programs and files that an earlier engine left half made or half deleted."""

    def __init__(self, files: StateFs, servers: Servers, states: States) -> None:
        self._files = files
        self._servers = servers
        self._states = states

    def end_servers(self) -> bool:
        """End the servers of unfinished builds and resets, and the programs of unfinished steps.

        Returns whether all have ended.

        This comes before instances are started: a server that was reset has the port of its
        successor.
        """
        for workspace in self._files.leftovers():
            try:
                # What a command left behind would try to reach the server again.
                kill_leftovers(workspace, _KILL_SECONDS)
                self._servers.kill(workspace)
            except (EngineError, TimeoutError):
                _log.exception("cannot end what runs in %s", workspace)
                return False
        return True

    def remove_files(self) -> None:
        """Remove unfinished and half deleted directories that no server uses."""
        self._states.sweep()
        if self.end_servers():  # otherwise files would vanish under a server: the next start does
            self._files.sweep()

    def remove_temporary_files(self) -> None:
        """Remove the temporary files of engines and commands that were killed."""
        temporary_files.sweep(self._files.root, TEMPORARY, temporary_files.PROBE)
