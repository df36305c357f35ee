"""What the modules of this package share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..chores import Chores
from ..clock import Clock
from ..conntrack import Reading
from ..metrics import Metrics
from ..store import Store
from ..store.records import Instance, Name, State
from .expiry import Expiry
from .leases import Leases
from .locks import KeyedLocks
from .ports import Ports
from .room import Room
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
class Dependencies:
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
    room: Room
    chores: Chores
    keeps: Callable[[str], bool]
