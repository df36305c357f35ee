"""Create, start and remove instances.

Order on disk and in the database, so that a crash at any point is repaired at the next
start: a new instance gets its files, its server, its password, then its row (files
without a row are removed with what runs there); a removed one loses its row, its server,
then its files.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

from sqlrs_engine import ids
from sqlrs_engine.errors import (
    Conflict,
    IdempotencyKeyReused,
    NotFound,
    StorageFull,
    StoreDamaged,
    Unavailable,
)
from sqlrs_engine.host.disk_space import with_relief
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable, SettingsUnfit
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import Instance, State

from .expiry import check_ttl
from .fifo_semaphore import FifoSemaphore
from .pool.pool import Pool
from .ports import NoPortLeft
from .provisioner import Provisioner, Ready, Started, new_password
from .servers import OnLog, discard_line
from .services import Services
from .watch import Watch

MAX_RUNNING = "instances.maxRunning"

_PORT_ATTEMPTS = 5

_WAYS_OUT = "reset it to the content of its state, or delete it"

_log = logging.getLogger(__name__)


class Lifecycle:
    """The instances' servers, files and rows, always changed together."""

    def __init__(
        self, deps: Services, assembly: Provisioner, pool: Pool, turns: FifoSemaphore, watch: Watch
    ) -> None:
        """``turns`` are those of the clones that somebody waits for.

        ``watch`` is told of every server that an instance gets.
        """
        self._deps = deps
        self._assembly = assembly
        self._pool = pool
        self._turns = turns
        self._watch = watch
        self._creating = threading.Lock()
        self._being_created = 0

    def create(
        self,
        state_id: str,
        *,
        name: str | None = None,
        ttl: float | None = None,
        protected: bool = False,
        made_for: str | None = None,
        asked: str | None = None,
        on_log: OnLog = discard_line,
    ) -> Instance:
        """Start an instance of a state; see ``Instances.create``."""
        check_ttl(ttl)
        once = nullcontext() if made_for is None else self._deps.locks.hold(f"for {made_for}")
        with self._deps.leases.lease(state_id), once:
            state = self._state(state_id)
            there = self._made_for(made_for, asked)
            if there is not None:
                # The same request may name its state otherwise: by what is bound to it now.
                if asked is None and there.state_id != state_id:
                    raise Conflict("there is an instance of another state", there.instance_id)
                with suppress(NotFound):  # deleted just now: it is made again
                    return self._resumed(there, name, on_log)
            if name is not None:
                self._deps.registry.check_free(name)
            with self._room(), ExitStack() as held:
                ready = self._ready(state, held)
                instance = self._hand_over(
                    ready,
                    name,
                    ttl=ttl,
                    protected=protected,
                    made_for=_purpose(made_for, asked),
                )
        self._pool.asked(state_id)
        on_log(f"instance created {instance.instance_id}")
        return instance

    def ensure_running(self, instance_id: str, on_log: OnLog = discard_line) -> Instance:
        """Return an instance whose server runs; see ``Instances.ensure_running``."""
        with self._deps.locks.hold(instance_id):
            instance = self.get(instance_id)
            container = self._deps.files.instance_dir(instance_id)
            if not container.is_dir():
                raise Conflict("the instance's files are missing: delete it", instance_id)
            server = self._deps.servers.server(instance.image_id, container)
            postmaster = server.postmaster()
            if postmaster is None:
                if not self._deps.files.is_whole(container):
                    raise StoreDamaged(
                        f"the instance's files are damaged: {_WAYS_OUT}", instance_id
                    )
                on_log(f"instance {instance_id} is down: starting it on port {instance.port}")
            elif postmaster.runtime_id == instance.runtime_id and not postmaster.stopping:
                self._watch.see(instance)
                return instance
            else:
                instance = self._on_port(instance, postmaster.port)
            # A server that the row does not know was started just before a crash, and may be
            # without a password: it goes the whole way, as if it were started now.
            try:
                return self.restart(instance, server, on_log)
            except SettingsUnfit:
                raise
            except ServerUnusable as error:
                raise ServerUnusable(
                    f"the instance's server does not start: {_WAYS_OUT}", f"{instance_id}: {error}"
                ) from error

    def restart(
        self, instance: Instance, server: Cluster, on_log: OnLog = discard_line
    ) -> Instance:
        """Start an instance on the port it has, or go on with a server that runs there.

        When another program has the port, the instance moves to another one. The password
        is set in any case. The caller holds the instance's lock. Raises NoPortLeft,
        ClusterFailed.
        """
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            try:
                started = self._started(instance, server)
                break
            except PortTaken:
                if not attempts_left:
                    raise
                instance = self._moved(instance, server, on_log)
        self._watch.see(replace(instance, runtime_id=started.runtime_id))
        renewed: Instance | None = instance
        # Without room for it the next use finds a server that the row does not know.
        with suppress(StorageFull):
            renewed = self._deps.expiry.renew(
                instance.instance_id, runtime_id=started.runtime_id, sessions=started.sessions
            )
        if renewed is None:
            raise NotFound.of("instance", instance.instance_id)
        on_log(f"instance {instance.instance_id} runs")
        return renewed

    def remove(self, instance_id: str) -> bool:
        """Delete an instance, whoever is connected; say whether it was there."""
        with self._deps.locks.hold(instance_id):
            instance = self._deps.store.instances.get(instance_id)
            if instance is None:
                return False
            # What fails for want of space comes before what cannot be undone.
            self._deps.store.instances.remove(instance_id)
            self._assembly.clear(self._deps.files.instance_dir(instance_id))
            self._deps.ports.release(instance.port)
            return True

    def remove_made_for(self, made_for: str) -> bool:
        """Delete the instance made for something; say whether there was one."""
        there = self._made_for(made_for)
        return there is not None and self.remove(there.instance_id)

    def get(self, instance_id: str) -> Instance:
        """Return an instance's row. Raises NotFound."""
        instance = self._deps.store.instances.get(instance_id)
        if instance is None:
            raise NotFound.of("instance", instance_id)
        return instance

    def _state(self, state_id: str) -> State:
        state = self._deps.store.states.get(state_id)
        if state is None:
            raise NotFound.of("state", state_id)
        if not self._deps.states.exists(state_id):
            raise NotFound("the state's files are missing or damaged: prepare it again", state_id)
        return state

    def _made_for(self, made_for: str | None, asked: str | None = None) -> Instance | None:
        if made_for is None:
            return None
        if asked is None:
            wanted = InstanceFilter(made_for=made_for)
        else:
            wanted = InstanceFilter(made_for_prefix=_purpose(made_for, ""))
        for instance in self._deps.store.instances.find(wanted):
            if instance.made_for != _purpose(made_for, asked):
                raise IdempotencyKeyReused
            return instance
        return None

    def _resumed(self, there: Instance, name: str | None, on_log: OnLog) -> Instance:
        """Return the instance that an interrupted caller had created before."""
        if name is not None and there.name is None:
            self._deps.registry.claim(name, there)
        return self.ensure_running(there.instance_id, on_log)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Count one more instance. Raises Unavailable when there are enough."""
        limit = self._deps.config.value(MAX_RUNNING)
        with self._creating:
            if limit:
                existing = len(self._deps.store.instances.find(InstanceFilter()))
                if existing + self._being_created >= limit:
                    raise Unavailable(
                        "the maximum number of instances is reached",
                        f"{MAX_RUNNING} is {limit}: delete instances, or raise the limit",
                    )
            self._being_created += 1
        try:
            yield
        finally:
            with self._creating:
                self._being_created -= 1

    def _ready(self, state: State, held: ExitStack) -> Ready:
        """Return a running clone, from the pool or made now, and hold its lock.

        The lock tells a recovery that its files are not left over.
        """
        standby = self._pool.take(state.state_id)
        if standby is not None:
            held.enter_context(self._deps.locks.hold(standby.instance_id))
            return standby
        room, size, spared = self._deps.room, state.size_bytes or 0, (state.state_id,)
        room.make_room("prepare_instance", spared, size)
        return with_relief(
            lambda: self._made(state, held),
            lambda failure, more: room.relieve("prepare_instance", failure, spared, more),
        )

    def _made(self, state: State, held: ExitStack) -> Ready:
        """Make a running clone, at the cost of standbys if there is no other way."""
        instance_id = ids.new_id()
        with ExitStack() as lock, self._turns.turn():
            lock.enter_context(self._deps.locks.hold(instance_id))
            try:
                ready = self._assembly.make(instance_id, state)
            except (StorageFull, NoPortLeft):
                if not self._pool.give_up():
                    raise
                ready = self._assembly.make(instance_id, state)
            held.enter_context(lock.pop_all())
        return ready

    def _hand_over(self, ready: Ready, name: str | None, **options: Any) -> Instance:
        """Make an instance of a running clone: add the row and the name; or nothing."""
        try:
            instance = self._record(ready, **options)
            if name is not None:
                self._deps.registry.claim(name, instance)
                # A name has its say in when the instance expires.
                instance = self._deps.expiry.recompute(ready.instance_id) or instance
            self._deps.store.states.touch(ready.state_id, self._deps.clock())
        except BaseException:
            self._undo(ready)
            raise
        self._deps.ports.keep(ready.port)
        ready.held.close()
        self._watch.see(instance)
        return instance

    def _record(self, ready: Ready, **options: Any) -> Instance:
        """Add the row of an instance whose life begins now."""
        now = self._deps.clock()
        return self._deps.expiry.add(
            Instance(
                instance_id=ready.instance_id,
                image_id=ready.image_id,
                state_id=ready.state_id,
                created_at=now,
                port=ready.port,
                password=ready.password,
                activity_at=now,
                sessions=ready.started.sessions,
                runtime_id=ready.started.runtime_id,
                **options,
            )
        )

    def _started(self, instance: Instance, server: Cluster) -> Started:
        """Start an instance's server where its row says. Raises PortTaken, ClusterFailed."""
        if server.postmaster() is None and not self._deps.ports.hold(instance.port):
            raise PortTaken("another program has the instance's port", str(instance.port))
        settings = self._assembly.settings()
        return self._assembly.start(server, instance.port, instance.password, settings)

    def _moved(self, instance: Instance, server: Cluster, on_log: OnLog) -> Instance:
        """Give an instance another port and another password.

        A program that has taken its port may have been told the password by a client that
        took it for the instance. So the password is changed before the server can be
        reached, and in the row before all else, for the case of a crash.
        """
        with self._deps.ports.reserved() as port:
            moved = self._deps.store.instances.update(
                instance.instance_id, port=port, password=new_password()
            )
            if moved is None:
                raise NotFound.of("instance", instance.instance_id)
            self._deps.ports.keep(port)
        self._deps.ports.release(instance.port)
        message = (
            f"another program has port {instance.port} of instance {instance.instance_id}, which"
            f" gets port {port} and another password: ask for its DSN again"
        )
        _log.warning("%s", message)
        on_log(message)
        self._assembly.change_password(server, moved.password)
        return moved

    def _on_port(self, instance: Instance, port: int) -> Instance:
        """Make a row say where its server listens, which clients of it know already."""
        if port == instance.port:
            return instance
        self._deps.ports.release(instance.port)
        changed = self._deps.store.instances.update(instance.instance_id, port=port)
        return changed or instance

    def _undo(self, ready: Ready) -> None:
        """Leave nothing of an instance that failed; the failure itself goes on."""
        try:
            self._deps.store.instances.remove(ready.instance_id)
        except Exception:
            _log.exception("cannot remove the row of instance %s", ready.instance_id)
        self._assembly.discard(ready)


def _purpose(made_for: str | None, asked: str | None) -> str | None:
    return made_for if made_for is None or asked is None else f"{made_for}:{asked}"
