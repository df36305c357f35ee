"""Instances: writable clones of states, each a running cluster with a DSN of its own."""

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.conntrack import Conntrack
from sqlrs_engine.errors import NotFound
from sqlrs_engine.host.memory import Memory, ProcMemory
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.registry import Registry
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import InstanceFilter, Store
from sqlrs_engine.store.records import Instance, State

from .disk_budget import DiskBudget, Unlimited
from .expiry import DEFAULT_TTL, UNSET, Expiry, MaybeFlag, MaybeTtl
from .fifo_semaphore import FifoSemaphore
from .lifecycle import Lifecycle
from .locks import KeyedLocks
from .pool.pool import Pool
from .ports import Ports
from .promote import Promotion
from .provisioner import Provisioner
from .reaper import Reaper
from .recovery import Recovery
from .reset import Reset
from .servers import OnLog, Servers, discard_line
from .services import Services
from .usage import Usage
from .watch import Watch

__all__ = [
    "UNSET",
    "Expiry",
    "Instances",
    "Servers",
]


_MIN_CLONES_AT_ONCE = 2

_log = logging.getLogger(__name__)


class Instances:
    """The instances of one engine; safe to use from any thread.

    What changes an instance runs in one thread at a time; different instances do not wait
    for each other.
    """

    def __init__(
        self,
        store: Store,
        files: StateFiles,
        servers: Servers,
        config: Config,
        *,
        registry: Registry,
        leases: Leases,
        expiry: Expiry,
        states: States,
        conntrack: Conntrack | None = None,
        ports: Ports | None = None,
        clock: Clock = utc_now,
        metrics: Metrics | None = None,
        memory: Memory | None = None,
        room: DiskBudget | None = None,
        chores: RetryQueue | None = None,
        keeps: Callable[[str], bool] = lambda instance_id: False,
    ) -> None:
        """``expiry`` is the one the registry announces changed names to.

        ``keeps`` tells whether the files of an instance without a row are to be set aside
        rather than deleted.
        """
        self._deps = deps = Services(
            store=store,
            files=files,
            servers=servers,
            config=config,
            registry=registry,
            conntrack=conntrack or Conntrack(),
            leases=leases,
            locks=KeyedLocks(),
            ports=ports or Ports(lambda: _port_range(config), store.instances.ports),
            expiry=expiry,
            clock=clock,
            metrics=metrics or Metrics(),
            states=states,
            room=room or Unlimited(),
            chores=chores or RetryQueue(),
            keeps=keeps,
        )
        self._activity = Usage(deps)
        assembly = Provisioner(deps)
        turns = FifoSemaphore(max(_MIN_CLONES_AT_ONCE, os.cpu_count() or 0))
        self.pool = Pool(deps, assembly, turns, memory=memory or ProcMemory())
        self._watch = Watch(self._hold_port, self._revive)
        self._lifecycle = Lifecycle(deps, assembly, self.pool, turns, self._watch)
        self._rewind = Reset(deps, assembly, self._lifecycle, self._activity)
        self._promotion = Promotion(deps, assembly, self._lifecycle, self._activity)
        self._reaper = Reaper(deps, self._lifecycle, self._activity)
        self._recovery = Recovery(deps, assembly, self._lifecycle, self._reaper)
        config.on_change(self._config_changed)

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
        """Start an instance of a state, ready for connections.

        ``ttl`` is in seconds: None for the configured one (none at all for a named or
        protected instance), 0 for never. With ``made_for``, which names what the instance
        is for, the call may be repeated: an instance that it made before is returned,
        running. ``asked``, of lower-case text, tells repetitions from other calls that are
        for the same. ``on_log`` is given progress lines.

        Raises NotFound without such a state, ImageUnavailable without its PostgreSQL,
        Conflict when the name is taken or the instance made before is of another state,
        IdempotencyKeyReused when the call that made it before asked for something else,
        InvalidArgument, Unavailable when there are enough instances or no port is free,
        ClusterFailed. A failure leaves nothing.
        """
        return self._lifecycle.create(
            state_id,
            name=name,
            ttl=ttl,
            protected=protected,
            made_for=made_for,
            asked=asked,
            on_log=on_log,
        )

    def ensure_running(self, instance_id: str, on_log: OnLog = discard_line) -> Instance:
        """Return an instance, restarted on the same port if its server was down.

        With another port and password if another program has the port. Raises NotFound,
        Conflict when the files were lost, ImageUnavailable, NoPortLeft, ClusterFailed.
        """
        return self._lifecycle.ensure_running(instance_id, on_log)

    def update(
        self, instance_id: str, *, ttl: MaybeTtl = UNSET, protected: MaybeFlag = UNSET
    ) -> Instance:
        """Change the time to live (seconds; None, 0: see ``create``) or the protection.

        Raises NotFound, InvalidArgument.
        """
        instance = self._deps.expiry.renew(instance_id, ttl=ttl, protected=protected)
        return instance or self._lifecycle.get(instance_id)

    def connections(self, instance_id: str) -> int:
        """Return how many clients are connected. Raises NotFound."""
        with self._deps.locks.hold(instance_id):
            reading, _ = self._activity.observe(self._lifecycle.get(instance_id))
            return reading.connections

    def reset(self, instance_id: str, force: bool = False) -> Instance:
        """Put an instance back to the content of its state; id, port and password stay.

        Unless the port was lost: see ``ensure_running``.

        Raises NotFound, Conflict while clients are connected (``force`` cuts them off),
        ImageUnavailable, ClusterFailed.
        """
        return self._rewind.reset(instance_id, force)

    def promote(
        self, instance_id: str, *, force: bool = False, on_log: OnLog = discard_line
    ) -> State:
        """Make a state of an instance, which is restarted for it.

        Raises NotFound, Conflict while clients are connected (``force`` cuts them off),
        ImageUnavailable, ClusterFailed.
        """
        return self._promotion.promote(instance_id, force, on_log)

    def remove(self, instance_id: str) -> bool:
        """Delete an instance, whoever is connected; say whether it was there."""
        return self._lifecycle.remove(instance_id)

    def remove_made_for(self, made_for: str) -> bool:
        """Delete the instance made for something; say whether there was one."""
        return self._lifecycle.remove_made_for(made_for)

    def exclusive(self, instance_ids: Iterable[str]) -> AbstractContextManager[None]:
        """Keep all other threads from changing these instances."""
        return self._deps.locks.hold_all(instance_ids)

    def recover(self) -> None:
        """Make servers, files and rows agree again after a start of the engine.

        Living servers are adopted, dead ones restarted (50 ms each, several at once), the
        expired removed, and so are files without a row and rows without files. To be
        called from a background thread, before the reaper starts. What fails is logged.
        """
        self._recovery.run()

    def reap(self) -> list[str]:
        """Remove the instances that have expired; return their ids."""
        return self._reaper.reap()

    def start_reaper(self) -> None:
        """Remove instances as they expire, in the background."""
        self._reaper.start()

    def start_watch(self) -> None:
        """Restart servers at once when they end, in the background."""
        self._watch.start(lambda: self._deps.store.instances.find(InstanceFilter()))

    def stop(self) -> None:
        """End what goes on in the background; servers keep running.

        A recovery ends after its current steps.
        """
        self._recovery.stop()
        self._watch.stop()
        self._reaper.stop()
        self._deps.ports.close()

    def _hold_port(self, instance_id: str) -> None:
        instance = self._deps.store.instances.get(instance_id)
        if instance is not None:
            self._deps.ports.hold(instance.port)

    def _revive(self, instance_id: str) -> bool:
        """Have an instance's server run; say whether it did not."""
        with suppress(NotFound), self._deps.locks.hold(instance_id):
            before = self._lifecycle.get(instance_id).runtime_id
            return self._lifecycle.ensure_running(instance_id, _log.info).runtime_id != before
        return False

    def _config_changed(self, path: str) -> None:
        self.pool.reconsider()
        if DEFAULT_TTL.startswith(path) or path.startswith(DEFAULT_TTL):
            self._deps.expiry.recompute_all()


def _port_range(config: Config) -> tuple[int, int]:
    return config.value("instances.ports.first"), config.value("instances.ports.last")
