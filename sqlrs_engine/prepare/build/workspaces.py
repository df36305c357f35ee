"""Workspaces: temporary clones with servers, in which states are built or tried."""

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlrs_engine.instances.servers import Servers
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.statefs import StateFiles

from .disk_full import LOG_PREFIX

_PORT_ATTEMPTS = 5

# A build writes a lot once, and its server is gone before any client can see these.
_BUILD_SETTINGS: Mapping[str, Any] = {"shared_buffers": "128MB", "max_wal_size": "1GB"}


class Workspaces:
    """Starts the servers of workspaces, and removes workspaces, repeatedly if necessary."""

    def __init__(
        self, files: StateFiles, servers: Servers, metrics: Metrics, retries: RetryQueue
    ) -> None:
        self.files = files
        self._servers = servers
        self._metrics = metrics
        self._retries = retries

    def cluster(self, image_id: str, workspace: Path) -> Cluster:
        """Return the cluster in a workspace."""
        return self._servers.server(image_id, workspace)

    def start(self, cluster: Cluster, settings: Mapping[str, Any], *, tcp: bool) -> int | None:
        """Start a server to build with; return its port on 127.0.0.1, None without ``tcp``.

        Raises ClusterFailed.
        """
        settings = {**_BUILD_SETTINGS, **settings, "log_line_prefix": LOG_PREFIX}
        attempts_left = _PORT_ATTEMPTS if tcp else 0
        with self._metrics.phase("start"):
            while True:
                port = _any_port() if tcp else None
                try:
                    cluster.start(port=port, settings=settings)
                except PortTaken:
                    attempts_left -= 1
                    if attempts_left <= 0:
                        raise
                else:
                    return port

    def starts(self, image_id: str, source: Path, settings: Mapping[str, Any]) -> bool:
        """Return whether a server starts on a clone of ``source``."""
        workspace = self.files.clone_to_workspace(source)
        try:
            self.cluster(image_id, workspace).start(port=None, settings=settings)
        except ServerUnusable:
            return False
        finally:
            self.remove(workspace)
        return True

    def serves(self, image_id: str, source: Path, settings: Mapping[str, Any]) -> bool:
        """Return whether a server starts on a clone and lets its user in, by TCP, too."""
        workspace = self.files.clone_to_workspace(source)
        cluster = self.cluster(image_id, workspace)
        password = secrets.token_urlsafe()
        try:
            port = self.start(cluster, settings, tcp=True)
            assert port is not None  # noqa: S101 - it was asked for
            cluster.check_superuser(port)
            cluster.set_password(port, password)
            cluster.log_in(port, password)
        except ServerUnusable:
            return False
        finally:
            self.remove(workspace)
        return True

    def remove(self, workspace: Path) -> None:
        """End what runs in a workspace and remove it, later if that fails now."""

        def kill_and_discard() -> None:
            self._servers.kill(workspace)
            self.files.discard(workspace)

        self._retries.do(f"clean up {workspace}", kill_and_discard)


def _any_port() -> int:
    """Return a free port of 127.0.0.1 from the system's ephemeral range."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
