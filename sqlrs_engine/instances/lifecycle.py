"""Create, start and remove instances.

Order on disk and in the database, so that a crash at any point is repaired at the next
start: a new instance gets its files, its server, its password, then its row (files
without a row are removed with what runs there); a removed one loses its server, its row,
then its files.
"""

import logging
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .. import ids
from ..errors import Conflict, InvalidArgument, NotFound, Unavailable
from ..postgres.cluster import PortTaken
from ..store import InstanceFilter
from ..store.records import Instance, State
from .deps import Dependencies
from .expiry import check_ttl
from .servers import LOG_FILE, OnLog, Postmaster, Server, discard_line

MAX_RUNNING = "instances.maxRunning"
SETTINGS = "postgres.settings"
PASSWORD_BYTES = 24

_PORT_ATTEMPTS = 5

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """A server just started: which process, and its session count with the engine's own."""

    runtime_id: str
    sessions: int


class Lifecycle:
    """The instances' servers, files and rows, always changed together."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._creating = threading.Lock()
        self._being_created = 0

    def create(
        self,
        state_id: str,
        *,
        name: str | None = None,
        ttl: float | None = None,
        protected: bool = False,
        instance_id: str | None = None,
        on_log: OnLog = discard_line,
    ) -> Instance:
        """Start an instance of a state; see ``Instances.create``."""
        check_ttl(ttl)
        if instance_id is not None and not ids.is_instance_id(instance_id):
            raise InvalidArgument("invalid instance id", instance_id)
        new_id = instance_id.lower() if instance_id else ids.new_id()
        with self._deps.leases.lease(state_id), self._deps.locks.hold(new_id):
            state = self._state(state_id)
            there = self._deps.store.instances.get(new_id)
            if there is not None:
                return self._resumed(there, state, name, on_log)
            if name is not None:
                self._deps.names.check_free(name)
            draft = Instance(
                instance_id=new_id,
                image_id=state.image_id,
                state_id=state_id,
                created_at=self._deps.clock(),
                port=0,
                password=secrets.token_urlsafe(PASSWORD_BYTES),
                ttl=ttl,
                protected=protected,
            )
            with self._room():
                return self._build(draft, name, on_log)

    def ensure_running(self, instance_id: str, on_log: OnLog = discard_line) -> Instance:
        """Return an instance whose server runs; see ``Instances.ensure_running``."""
        with self._deps.locks.hold(instance_id):
            instance = self.get(instance_id)
            container = self._deps.files.instance_dir(instance_id)
            if not container.is_dir():
                raise Conflict("the instance's files are gone: delete it", instance_id)
            server = self._deps.servers.server(instance.image_id, container)
            postmaster = server.postmaster()
            if postmaster is not None:
                return self._adopted(instance, postmaster)
            return self.restart(instance, server, on_log)

    def restart(self, instance: Instance, server: Server, on_log: OnLog = discard_line) -> Instance:
        """Start a stopped instance on the port it has. The caller holds its lock.

        Raises Conflict when another program has the port, ClusterFailed.
        """
        on_log(f"instance {instance.instance_id} is down: starting it on port {instance.port}")
        try:
            started = self.start(instance, server)
        except PortTaken as error:
            raise Conflict(
                "the instance cannot be restarted: another program listens on its port",
                f"port {instance.port}: stop that program, or delete the instance",
            ) from error
        renewed = self._deps.expiry.renew(
            instance.instance_id, runtime_id=started.runtime_id, sessions=started.sessions
        )
        if renewed is None:
            raise NotFound("instance not found", instance.instance_id)
        on_log(f"instance {instance.instance_id} runs")
        return renewed

    def remove(self, instance_id: str) -> bool:
        """Delete an instance, whoever is connected; say whether it was there."""
        with self._deps.locks.hold(instance_id):
            if self._deps.store.instances.get(instance_id) is None:
                return False
            container = self._deps.files.instance_dir(instance_id)
            self._deps.servers.kill(container)
            self._deps.store.instances.remove(instance_id)
            self._deps.files.discard(container)
            return True

    def scrap(self, container: Path) -> None:
        """Remove an instance's files that have no row, and what runs there."""
        self._deps.servers.kill(container)
        self._deps.files.discard(container)

    def get(self, instance_id: str) -> Instance:
        """Return an instance's row. Raises NotFound."""
        instance = self._deps.store.instances.get(instance_id)
        if instance is None:
            raise NotFound("instance not found", instance_id)
        return instance

    def _state(self, state_id: str) -> State:
        state = self._deps.store.states.get(state_id)
        if state is None:
            raise NotFound("state not found", state_id)
        if not self._deps.states.exists(state_id):
            raise NotFound(
                "the state's files are gone, or may be damaged: delete it and prepare it again",
                state_id,
            )
        return state

    def _resumed(self, there: Instance, state: State, name: str | None, on_log: OnLog) -> Instance:
        """Return the instance that an interrupted caller had created before."""
        if there.state_id != state.state_id:
            raise Conflict("the instance id is taken", there.instance_id)
        if name is not None and there.name is None:
            self._deps.names.claim(name, there)
        return self.ensure_running(there.instance_id, on_log)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Count one more instance. Raises Unavailable when there are enough."""
        limit = self._deps.settings.value(MAX_RUNNING)
        with self._creating:
            if limit:
                existing = len(self._deps.store.instances.find(InstanceFilter()))
                if existing + self._being_created >= limit:
                    raise Unavailable(
                        "there are as many instances as the configuration allows",
                        f"{MAX_RUNNING} is {limit}: delete instances, or raise it",
                    )
            self._being_created += 1
        try:
            yield
        finally:
            with self._creating:
                self._being_created -= 1

    def _build(self, draft: Instance, name: str | None, on_log: OnLog) -> Instance:
        """Make the files, the server, the row and the name; or nothing."""
        files = self._deps.files
        container = files.instance_dir(draft.instance_id)
        # First of all: without its binaries there is nothing to copy a state for.
        server = self._deps.servers.server(draft.image_id, container)
        if container.exists():
            self.scrap(container)
        try:
            with self._deps.metrics.phase("clone"):
                files.clone(files.state_dir(draft.image_id, draft.state_id), container)
            (container / LOG_FILE).unlink(missing_ok=True)
            instance = self._start_on_a_free_port(draft, server)
            if name is not None:
                self._deps.names.claim(name, instance)
            self._deps.store.states.touch(draft.state_id, self._deps.clock())
            complete = self._deps.expiry.recompute(draft.instance_id)
        except BaseException:
            self._undo(draft.instance_id, container)
            raise
        if complete is None:
            raise NotFound("the instance was deleted while it was made", draft.instance_id)
        on_log(f"instance created {draft.instance_id}")
        return complete

    def _start_on_a_free_port(self, draft: Instance, server: Server) -> Instance:
        """Start the server and add the row, on another port when one proves taken."""
        with ExitStack() as reservations:  # a port that failed is not tried again
            for attempts_left in reversed(range(_PORT_ATTEMPTS)):
                port = reservations.enter_context(self._deps.ports.reserved())
                instance = replace(draft, port=port)
                try:
                    with self._deps.metrics.phase("start"):
                        started = self.start(instance, server)
                except PortTaken:
                    if not attempts_left:
                        raise
                    _log.info("port %d was taken meanwhile: trying another", port)
                else:
                    return self._record(instance, started)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _record(self, instance: Instance, started: Started) -> Instance:
        """Add the row of an instance just started."""
        complete = replace(
            instance,
            activity_at=instance.created_at,
            runtime_id=started.runtime_id,
            sessions=started.sessions,
        )
        complete = replace(complete, expires_at=self._deps.expiry.deadline(complete))
        self._deps.store.instances.add(complete)
        return complete

    def start(self, instance: Instance, server: Server) -> Started:
        """Start a server, make its password the instance's, count its sessions so far.

        The password is set at every start, so that a crash between the two is harmless.
        """
        settings = self._deps.settings.value(SETTINGS)
        postmaster = server.start(port=instance.port, settings=settings)
        try:
            server.set_password(instance.port, instance.password)
            reading = self._deps.conntrack.read(server, instance.port)
        except BaseException:
            server.stop("immediate")
            raise
        return Started(postmaster.runtime_id, reading.sessions or 0)

    def _adopted(self, instance: Instance, postmaster: Postmaster) -> Instance:
        if instance.runtime_id == postmaster.runtime_id:
            return instance
        changed = self._deps.store.instances.update(
            instance.instance_id, runtime_id=postmaster.runtime_id
        )
        return changed or instance

    def _undo(self, instance_id: str, container: Path) -> None:
        """Leave nothing of an instance that failed; the failure itself goes on."""
        try:
            self._deps.store.instances.remove(instance_id)
            self.scrap(container)
        except Exception:
            _log.exception("cannot clean up after instance %s, the next start will", instance_id)
