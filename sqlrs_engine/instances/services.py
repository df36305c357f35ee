"""What the modules of this package share."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlrs_engine.clock import Clock
from sqlrs_engine.config import Config
from sqlrs_engine.conntrack import Conntrack
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.registry import Registry
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.statefs import StateFiles
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import Store

from .disk_budget import DiskBudget
from .expiry import Expiry
from .locks import KeyedLocks
from .ports import Ports
from .servers import Servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The engine's parts as instances see them.

    ``keeps`` tells whether an instance without a row may be precious all the same.
    """

    store: Store
    files: StateFiles
    servers: Servers
    config: Config
    registry: Registry
    conntrack: Conntrack
    leases: Leases
    locks: KeyedLocks
    ports: Ports
    expiry: Expiry
    clock: Clock
    metrics: Metrics
    states: States
    room: DiskBudget
    chores: RetryQueue
    keeps: Callable[[str], bool]
