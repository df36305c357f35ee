"""Makes running clones of states: files, a server, a password, but no row yet.

A running clone becomes an instance, or a standby of the warm pool. Until it has a row, the next
start of the engine removes it like all files without a row.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from sqlrs_engine.errors import DISK_FULL, ClusterFailed, Conflict, StorageFull
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable, SettingsUnfit, StateUnusable
from sqlrs_engine.postgres.settings import Setting
from sqlrs_engine.store.records import State

from .servers import LOG_FILE
from .services import Services

SETTINGS = "postgres.settings"
PASSWORD_BYTES = 24

_PORT_ATTEMPTS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """A server that has just started.

    ``sessions`` counts its database sessions so far, those of the engine included.
    """

    runtime_id: str
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunningClone:
    """A running clone without a row.

    ``settings`` are those its server was started with. ``port_reservation`` keeps its port
    from other instances until a row does.
    """

    instance_id: str
    image_id: str
    state_id: str
    container: Path
    server: Cluster
    port: int
    password: str
    started: Started
    settings: Mapping[str, Setting]
    port_reservation: ExitStack

    def alive(self) -> bool:
        """Return whether its server still runs."""
        postmaster = self.server.postmaster()
        return postmaster is not None and postmaster.runtime_id == self.started.runtime_id


def new_password() -> str:
    """Return a password of 192 random bits."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


class Provisioner:
    """Makes, starts and removes running clones."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def make(
        self, instance_id: str, state: State, before_start: Callable[[], object] = lambda: None
    ) -> RunningClone:
        """Clone a state and start a server on it; leave nothing on failure.

        ``before_start`` is called between the two steps and may raise. The caller holds the
        lock of ``instance_id`` and a lease of the state. Raises ImageUnavailable, NoPortLeft,
        ClusterFailed, StorageFull.
        """
        files = self._services.files
        container = files.instance_dir(instance_id)
        # First, because without its binaries there is no reason to copy the state.
        server = self._services.servers.server(state.image_id, container)
        try:
            with self._services.metrics.phase("clone"):
                files.clone(files.state_dir(state.image_id, state.state_id), container)
            (container / LOG_FILE).unlink(missing_ok=True)
            before_start()
            return self._started(instance_id, state, container, server)
        except ServerUnusable as error:
            self.clear(container)
            if not state.proven or isinstance(error, SettingsUnfit):
                raise
            raise StateUnusable(state.state_id, error) from error
        except BaseException:
            self.clear(container)
            raise

    def start(
        self,
        server: Cluster,
        port: int,
        password: str,
        settings: Mapping[str, Setting],
        *,
        prove: bool = False,
    ) -> Started:
        """Start a server and set its password, at every start because of possible crashes.

        With ``prove``, also log in as clients do. Raises ClusterFailed, or StorageFull when the
        disk is full: the server may have no room to log the reason.
        """
        try:
            return self._start(server, port, password, settings, prove=prove)
        except PortTaken:
            raise
        except ClusterFailed as error:
            if not self._services.disk_budget.exhausted():
                raise
            raise StorageFull(DISK_FULL, error.details) from error

    def _start(
        self,
        server: Cluster,
        port: int,
        password: str,
        settings: Mapping[str, Setting],
        *,
        prove: bool,
    ) -> Started:
        with self._services.ports.admitting(port):
            postmaster = server.start(port=port, settings=settings)
        try:
            sessions = server.set_password(port, password)
            if prove:
                sessions = server.log_in(port, password)
        except BaseException:
            server.stop("immediate")
            raise
        return Started(postmaster.runtime_id, sessions)

    def change_password(self, server: Cluster, password: str) -> None:
        """Set the password of a stopped server, starting it out of reach of clients."""
        postmaster = server.start(port=None, settings=self.settings())
        try:
            server.set_password(postmaster.port, password)
        finally:
            server.stop("fast")

    def settings(self) -> Mapping[str, Setting]:
        """Return the configured settings, which servers start with."""
        settings: Mapping[str, Setting] = self._services.config.value(SETTINGS)
        return settings

    def discard(self, clone: RunningClone) -> None:
        """Remove a clone that does not become an instance; never raise."""
        self.clear(clone.container)
        clone.port_reservation.close()

    def clear(self, container: Path) -> None:
        """End the server in files without a row and remove them; retry later what fails."""
        self._services.retries.do(f"clean up {container}", lambda: self.clear_now(container))

    def clear_now(self, container: Path) -> None:
        """End the server in files without a row and remove them.

        Set aside what is not a container. Raises ClusterFailed, StorageFull, OSError.
        """
        self._services.servers.kill(container)
        try:
            self._services.files.discard(container)
        except Conflict as refusal:
            place = self._services.files.set_aside(container)
            _log.warning("%s: moved to %s", refusal, place)

    def _started(
        self, instance_id: str, state: State, container: Path, server: Cluster
    ) -> RunningClone:
        """Start the server, on another port when another program has taken the first."""
        password, settings = new_password(), self.settings()
        with ExitStack() as reservations:  # keeps a port that failed from being tried again
            for attempts_left in reversed(range(_PORT_ATTEMPTS)):
                port = reservations.enter_context(self._services.ports.reserved())
                try:
                    with self._services.metrics.phase("start"):
                        started = self.start(
                            server, port, password, settings, prove=not state.proven
                        )
                except PortTaken:
                    if not attempts_left:
                        raise
                    _log.info("another program has taken port %d: trying another port", port)
                else:
                    if not state.proven:
                        self._services.store.states.set_proven(state.state_id)
                    return RunningClone(
                        instance_id=instance_id,
                        image_id=state.image_id,
                        state_id=state.state_id,
                        container=container,
                        server=server,
                        port=port,
                        password=password,
                        started=started,
                        settings=settings,
                        port_reservation=reservations.pop_all(),
                    )
        raise AssertionError("unreachable: the last attempt returns or raises")
