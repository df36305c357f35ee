"""The engine's parts that the modules of this package share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from sqlrs_engine.clock import Clock, utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.conntrack import Conntrack
from sqlrs_engine.errors import NotFound
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.registry import Registry
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Instance

from .disk_budget import DiskBudget, Unlimited
from .expiry import Expiry
from .keyed_locks import KeyedLocks
from .ports import Ports
from .servers import Servers

OnLog = Callable[[str], None]
"""Receives progress lines."""


def discard_line(line: str) -> None:
    """Ignore a progress line: the ``on_log`` of callers that show none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of one engine.

    ``keeps`` returns whether the files of an instance id without a row are to be set aside
    rather than deleted.
    """

    store: Store
    files: StateFiles
    servers: Servers
    config: Config
    registry: Registry
    leases: Leases
    states: States
    expiry: Expiry
    ports: Ports
    conntrack: Conntrack = field(default_factory=Conntrack)
    locks: KeyedLocks = field(default_factory=KeyedLocks)
    disk_budget: DiskBudget = field(default_factory=Unlimited)
    retries: RetryQueue = field(default_factory=RetryQueue)
    metrics: Metrics = field(default_factory=Metrics)
    clock: Clock = utc_now
    keeps: Callable[[str], bool] = lambda instance_id: False

    def instance(self, instance_id: str) -> Instance:
        """Return an instance's row. Raises NotFound."""
        instance = self.store.instances.get(instance_id)
        if instance is None:
            raise NotFound.of("instance", instance_id)
        return instance
