"""What the modules of this package share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlrs_engine.clock import Clock
from sqlrs_engine.conntrack import Reading
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store import Store
from sqlrs_engine.store.records import Instance, Name, State

from .disk_budget import DiskBudget
from .expiry import Expiry
from .locks import KeyedLocks
from .ports import Ports
from .servers import Files, Server, Servers


class Settings(Protocol):
    """The part of the configuration that instances use."""

    def value(self, path: str) -> Any:
        """Return the value in force at a path."""

    def seconds(self, path: str) -> float:
        """Return the duration in force at a path."""


class Names(Protocol):
    """Binds names to new instances; the registry does."""

    def check_free(self, name: str) -> None:
        """Raise InvalidArgument or Conflict unless the name can be claimed."""

    def claim(self, name: str, instance: Instance) -> Name:
        """Bind a name that is bound to no living instance. Raises Conflict otherwise."""


class ConnectionReader(Protocol):
    """Asks a running cluster who uses it; ``conntrack`` does."""

    def read(self, cluster: Server, port: int) -> Reading:
        """Return its connections and session counter."""


class States(Protocol):
    """The cached states; ``prepare`` has them."""

    def exists(self, state_id: str) -> bool:
        """Return whether a state is there, its files included, and can be trusted."""

    def publish_durably(self, workspace: Path, state: State) -> State:
        """Make a workspace a state; it is on the disk by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The engine's parts as instances see them.

    ``keeps`` tells whether an instance without a row may be precious all the same.
    """

    store: Store
    files: Files
    servers: Servers
    settings: Settings
    names: Names
    conntrack: ConnectionReader
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
