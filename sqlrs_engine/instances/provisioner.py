"""Makes running clones of states: files, a server, a password; not yet instances.

One of them becomes an instance by getting a row. Until then it is files without a row, and
what a crash leaves of it is removed at the next start like any other such files.
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
    """A server just started: which process, and its session count with the engine's own."""

    runtime_id: str
    sessions: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ready:
    """A running clone without a row.

    ``settings`` are those it was started with. ``held`` keeps its port from others until
    the row does.
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
    held: ExitStack

    def alive(self) -> bool:
        """Return whether the server that was started runs."""
        postmaster = self.server.postmaster()
        return postmaster is not None and postmaster.runtime_id == self.started.runtime_id


def new_password() -> str:
    """Return a password of 192 random bits."""
    return secrets.token_urlsafe(PASSWORD_BYTES)


class Provisioner:
    """Puts clones and servers together, and takes them apart."""

    def __init__(self, deps: Services) -> None:
        self._deps = deps

    def make(
        self, instance_id: str, state: State, go_on: Callable[[], object] = lambda: None
    ) -> Ready:
        """Clone a state and start a server on it, or leave nothing.

        ``go_on`` is called between the two, and may raise. The caller holds the lock of
        ``instance_id`` and keeps the state from being deleted. Raises ImageUnavailable,
        NoPortLeft, ClusterFailed, StorageFull.
        """
        files = self._deps.files
        container = files.instance_dir(instance_id)
        # First of all: without its binaries there is nothing to copy a state for.
        server = self._deps.servers.server(state.image_id, container)
        try:
            with self._deps.metrics.phase("clone"):
                files.clone(files.state_dir(state.image_id, state.state_id), container)
            (container / LOG_FILE).unlink(missing_ok=True)
            go_on()
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
        """Start a server and set its password; at every start, so that no crash matters.

        ``prove`` asks for a login like that of clients, too. Raises ClusterFailed, StorageFull
        when that was because the disk is full: the server may have no room to say so.
        """
        try:
            return self._start(server, port, password, settings, prove=prove)
        except PortTaken:
            raise
        except ClusterFailed as error:
            if not self._deps.room.exhausted():
                raise
            raise StorageFull(
                DISK_FULL,
                error.details,
            ) from error

    def _start(
        self,
        server: Cluster,
        port: int,
        password: str,
        settings: Mapping[str, Setting],
        *,
        prove: bool,
    ) -> Started:
        with self._deps.ports.admitting(port):
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
        """Set the password in the files of a stopped server, out of reach by TCP."""
        postmaster = server.start(port=None, settings=self.settings())
        try:
            server.set_password(postmaster.port, password)
        finally:
            server.stop("fast")

    def settings(self) -> Mapping[str, Setting]:
        """Return the settings that servers are to be started with now."""
        settings: Mapping[str, Setting] = self._deps.config.value(SETTINGS)
        return settings

    def discard(self, ready: Ready) -> None:
        """Remove a clone that does not become an instance; never fails."""
        self.clear(ready.container)
        ready.held.close()

    def clear(self, container: Path) -> None:
        """Remove files without a row, and what runs there; later if it cannot be done now."""
        self._deps.chores.do(f"clean up {container}", lambda: self.scrap(container))

    def scrap(self, container: Path) -> None:
        """Remove files without a row, and what runs there; what is no container is set aside."""
        self._deps.servers.kill(container)
        try:
            self._deps.files.discard(container)
        except Conflict as refusal:
            place = self._deps.files.set_aside(container)
            _log.warning("%s: it is set aside, as %s", refusal, place)

    def _started(self, instance_id: str, state: State, container: Path, server: Cluster) -> Ready:
        """Start the server, on another port when one proves taken."""
        password, settings = new_password(), self.settings()
        with ExitStack() as reservations:  # a port that failed is not tried again
            for attempts_left in reversed(range(_PORT_ATTEMPTS)):
                port = reservations.enter_context(self._deps.ports.reserved())
                try:
                    with self._deps.metrics.phase("start"):
                        started = self.start(
                            server, port, password, settings, prove=not state.proven
                        )
                except PortTaken:
                    if not attempts_left:
                        raise
                    _log.info("port %d was taken meanwhile: trying another", port)
                else:
                    if not state.proven:
                        self._deps.store.states.set_proven(state.state_id)
                    return Ready(
                        instance_id=instance_id,
                        image_id=state.image_id,
                        state_id=state.state_id,
                        container=container,
                        server=server,
                        port=port,
                        password=password,
                        started=started,
                        settings=settings,
                        held=reservations.pop_all(),
                    )
        raise AssertionError("unreachable: the last attempt returns or raises")
