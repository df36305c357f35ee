"""Creates instances.

An instance gets its files, its server, its password, then its row, so that the next start can
undo what a crash interrupts: it removes files without a row and the server that runs in them.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from sqlrs_engine import ids
from sqlrs_engine.errors import (
    Conflict,
    EngineError,
    IdempotencyKeyReused,
    NotFound,
    StorageFull,
    Unavailable,
)
from sqlrs_engine.host.disk_space import with_relief
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import Instance, State

from .expiry import check_ttl
from .fifo_semaphore import FifoSemaphore
from .pool.pool import Pool
from .ports import NoPortLeft
from .provisioner import Provisioner, RunningClone
from .removal import Removal
from .restart import Restart
from .services import OnLog, Services, discard_line
from .supervisor import Supervisor

MAX_RUNNING = "instances.maxRunning"

_log = logging.getLogger(__name__)


class Creation:
    """Makes instances of states, from the warm pool where it has a standby."""

    def __init__(
        self,
        services: Services,
        provisioner: Provisioner,
        *,
        pool: Pool,
        clone_semaphore: FifoSemaphore,
        restart: Restart,
        removal: Removal,
        supervisor: Supervisor,
    ) -> None:
        """``clone_semaphore`` limits how many clones are made at the same time.

        ``supervisor`` watches the server of every new instance.
        """
        self._services = services
        self._provisioner = provisioner
        self._pool = pool
        self._clone_semaphore = clone_semaphore
        self._restart = restart
        self._removal = removal
        self._supervisor = supervisor
        self._counting = threading.Lock()
        self._being_created = 0

    def create(
        self,
        state_id: str,
        *,
        name: str | None = None,
        ttl: float | None = None,
        protected: bool = False,
        made_for: str | None = None,
        request_digest: str | None = None,
        on_log: OnLog = discard_line,
    ) -> Instance:
        """Start an instance of a state, ready for connections; leave nothing on failure.

        ``ttl`` is in seconds: None for the configured one (none at all for a named or protected
        instance), 0 for never. ``made_for`` names the purpose of the instance and makes the call
        idempotent: when an earlier call made an instance for the same purpose, that one is
        returned, running. ``request_digest``, of lower-case text, distinguishes a repetition from
        another request for the same purpose. ``on_log`` receives progress lines.

        Raises NotFound without such a state, ImageUnavailable without its PostgreSQL, Conflict when
        the name is taken or the earlier instance is of another state, IdempotencyKeyReused when the
        earlier request was another one, InvalidArgument, Unavailable when there are too many
        instances or no port is free, StorageFull, ClusterFailed.
        """
        check_ttl(ttl)
        services = self._services
        once = nullcontext() if made_for is None else services.locks.hold(f"for {made_for}")
        with services.leases.lease(state_id), once:
            state = self._services.states.require(state_id)
            earlier = self._made_for(made_for, request_digest)
            if earlier is not None:
                # The same request may name another state: by a name that was bound anew.
                if request_digest is None and earlier.state_id != state_id:
                    raise Conflict("there is an instance of another state", earlier.instance_id)
                with suppress(NotFound):  # deleted just now: it is made again
                    return self._resumed(earlier, name, on_log)
            if name is not None:
                services.registry.check_free(name)
            with self._counted(), ExitStack() as held:
                clone = self._running_clone(state, held)
                instance = self._hand_over(
                    clone,
                    name,
                    ttl=ttl,
                    protected=protected,
                    made_for=_purpose(made_for, request_digest),
                )
        self._pool.requested(state_id)
        on_log(f"instance created {instance.instance_id}")
        return instance

    def remove_made_for(self, made_for: str) -> bool:
        """Delete the instance that was made for a purpose; return whether there was one."""
        there = self._made_for(made_for)
        return there is not None and self._removal.remove(there.instance_id)

    def _made_for(self, made_for: str | None, request_digest: str | None = None) -> Instance | None:
        if made_for is None:
            return None
        if request_digest is None:
            wanted = InstanceFilter(made_for=made_for)
        else:
            wanted = InstanceFilter(made_for_prefix=_purpose(made_for, ""))
        for instance in self._services.store.instances.find(wanted):
            if instance.made_for != _purpose(made_for, request_digest):
                raise IdempotencyKeyReused
            return instance
        return None

    def _resumed(self, earlier: Instance, name: str | None, on_log: OnLog) -> Instance:
        """Return the instance that an earlier, perhaps interrupted, call has created."""
        if name is not None and earlier.name is None:
            self._services.registry.claim(name, earlier)
        return self._restart.ensure_running(earlier.instance_id, on_log)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count one more instance. Raises Unavailable at the limit."""
        limit = self._services.config.value(MAX_RUNNING)
        with self._counting:
            if limit:
                existing = len(self._services.store.instances.find(InstanceFilter()))
                if existing + self._being_created >= limit:
                    raise Unavailable(
                        "the maximum number of instances is reached",
                        f"{MAX_RUNNING} is {limit}: delete instances, or raise the limit",
                    )
            self._being_created += 1
        try:
            yield
        finally:
            with self._counting:
                self._being_created -= 1

    def _running_clone(self, state: State, held: ExitStack) -> RunningClone:
        """Return a running clone, from the pool or made now, and hold the lock of its id.

        The lock keeps a recovery from removing its files.
        """
        clone = self._pool.take(state.state_id)
        if clone is not None:
            held.enter_context(self._services.locks.hold(clone.instance_id))
            return clone
        budget, size, protect = self._services.disk_budget, state.size_bytes or 0, (state.state_id,)
        budget.make_room("prepare_instance", protect, size)
        return with_relief(
            lambda: self._made(state, held),
            lambda failure, growth: budget.relieve("prepare_instance", failure, protect, growth),
        )

    def _made(self, state: State, held: ExitStack) -> RunningClone:
        """Make a running clone, removing standbys if there is no other way."""
        instance_id = ids.new_id()
        with ExitStack() as lock, self._clone_semaphore.hold():
            lock.enter_context(self._services.locks.hold(instance_id))
            try:
                clone = self._provisioner.make(instance_id, state)
            except (StorageFull, NoPortLeft):
                if not self._pool.release_all():
                    raise
                clone = self._provisioner.make(instance_id, state)
            held.enter_context(lock.pop_all())
        return clone

    def _hand_over(self, clone: RunningClone, name: str | None, **options: Any) -> Instance:
        """Make a running clone an instance by adding its row and its name, or remove it."""
        services = self._services
        try:
            instance = self._record(clone, **options)
            if name is not None:
                services.registry.claim(name, instance)
                # A name changes when the instance expires.
                instance = services.expiry.recompute(clone.instance_id) or instance
            services.store.states.touch(clone.state_id, services.clock())
        except BaseException:
            self._undo(clone)
            raise
        services.ports.keep(clone.port)
        clone.port_reservation.close()
        self._supervisor.watch(instance)
        return instance

    def _record(self, clone: RunningClone, **options: Any) -> Instance:
        """Add the row of a new instance."""
        now = self._services.clock()
        return self._services.expiry.add(
            Instance(
                instance_id=clone.instance_id,
                image_id=clone.image_id,
                state_id=clone.state_id,
                created_at=now,
                port=clone.port,
                password=clone.password,
                activity_at=now,
                sessions=clone.started.sessions,
                runtime_id=clone.started.runtime_id,
                **options,
            )
        )

    def _undo(self, clone: RunningClone) -> None:
        """Remove everything of an instance that failed; log further failures."""
        try:
            self._services.store.instances.remove(clone.instance_id)
        except EngineError:
            _log.exception("cannot remove the row of instance %s", clone.instance_id)
        finally:
            self._provisioner.discard(clone)


def _purpose(made_for: str | None, request_digest: str | None) -> str | None:
    """Return the text that records the purpose of an instance in its row."""
    return (
        made_for if made_for is None or request_digest is None else f"{made_for}:{request_digest}"
    )
