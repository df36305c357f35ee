"""What instances need of PostgreSQL and of the state filesystem."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distribution, Distributions
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.postgres.settings import Setting
from sqlrs_engine.statefs import data_dir

if TYPE_CHECKING:
    import psycopg

LOG_FILE = "postgres.log"

OnLog = Callable[[str], None]


def discard_line(line: str) -> None:
    """Ignore a log line: the ``on_log`` of callers that watch nothing."""


class Postmaster(Protocol):
    """A live server process."""

    @property
    def port(self) -> int:
        """The port it listens on; with TCP off, the number in its socket's name."""

    @property
    def runtime_id(self) -> str:
        """``<pid>.<start time in clock ticks>``."""

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop and is on its way out."""


class Server(Protocol):
    """The cluster in one container directory."""

    def start(self, *, port: int | None, settings: Mapping[str, Setting]) -> Postmaster:
        """Start it; without a port on its unix socket only. Raises ClusterFailed."""

    def postmaster(self) -> Postmaster | None:
        """Return the live server of this very directory, whoever started it."""

    def stop(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop it and wait for its end; harmless when it is not running."""

    def connect(self, port: int, dbname: str = "postgres") -> "psycopg.Connection[Any]":
        """Open a session of the engine's own over the unix socket."""

    def set_password(self, port: int, password: str | None) -> int:
        """Set or remove the password of the DSN's user.

        Returns how many sessions there ever were, its own included.
        """

    def log_in(self, port: int, password: str) -> int:
        """Log in as clients do, by TCP; return as ``set_password``. Raises ClusterFailed."""


class Servers(Protocol):
    """Finds the server that belongs in a container directory."""

    def server(self, image_id: str, container: Path) -> Server:
        """Return it, running or not. Raises ImageUnavailable when its binaries are gone."""

    def kill(self, container: Path) -> None:
        """End what runs there at once, binaries known or not."""


class Files(Protocol):
    """The part of the state filesystem that instances use."""

    def state_dir(self, image_id: str, state_id: str) -> Path:
        """Return where a state's container is."""

    def instance_dir(self, instance_id: str) -> Path:
        """Return where an instance's container is."""

    def instance_dirs(self) -> Iterator[Path]:
        """Yield what lies where the instances' containers are and has the name of one."""

    def set_aside(self, container: Path) -> Path:
        """Move a container out of use without deleting it; return where it is now."""

    def usage(self, path: Path) -> int:
        """Return the apparent size of a container in bytes."""

    def clone(self, source: Path, target: Path) -> None:
        """Make a writable copy; ``target`` appears complete or not at all."""

    def clone_to_workspace(self, source: Path) -> Path:
        """Make a writable copy in a directory that the next start sweeps away."""

    def swap(self, container: Path, workspace: Path) -> None:
        """Put a workspace in a container's place, and the container in its."""

    def is_whole(self, container: Path) -> bool:
        """Return whether a container has what every cluster has."""

    def discard(self, path: Path) -> None:
        """Remove a container: out of sight at once, deleted in the background."""

    def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is being deleted; False when something is after that time."""


class PostgresServers:
    """``Servers`` over the installed distributions."""

    def __init__(self, distributions: Distributions, os_user: OsUser | None) -> None:
        """``os_user`` runs the servers when the engine is root."""
        self._distributions = distributions
        self._os_user = os_user

    def server(self, image_id: str, container: Path) -> Cluster:
        """Return the cluster of a container. Raises ImageUnavailable."""
        return self._cluster(self._distributions.get(image_id), container)

    def kill(self, container: Path) -> None:
        """End what runs in a container at once. Raises ClusterFailed when it cannot be."""
        self._cluster(_ANY_BINARIES, container).stop("immediate")

    def _cluster(self, distribution: Distribution, container: Path) -> Cluster:
        return Cluster(
            distribution,
            data_dir(container),
            os_user=self._os_user,
            log_file=container / LOG_FILE,
        )


# Stopping a server takes none of its programs, so it works after they were removed.
_ANY_BINARIES = Distribution(
    image_id="", version="", major=0, bin_dir=Path("/nonexistent"), origin="installed"
)
