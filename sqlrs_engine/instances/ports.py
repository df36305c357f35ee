"""TCP ports for instances: chosen from the configured range, kept for an instance's life.

The engine holds a port from the moment it chooses it (``port_placeholders``), so that no other
program gets the port while the instance's server is down.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlrs_engine.config import Config
from sqlrs_engine.errors import Unavailable
from sqlrs_engine.store import InstanceStore

from .port_placeholders import PortPlaceholders


class NoPortLeft(Unavailable):
    """The configured range has no free port."""


class Ports:
    """Chooses ports that no instance and no other program uses; safe to use from any thread."""

    def __init__(
        self,
        bounds: Callable[[], tuple[int, int]],
        taken: Callable[[], set[int]],
        *,
        placeholders: PortPlaceholders | None = None,
        choose: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        """``bounds`` returns the first and the last port, ``taken`` the ports of all instances.

        ``choose(n)`` returns where in the range to begin, from 0 to n-1. A random place makes it
        unlikely that a new instance has the port of one just deleted.
        """
        self._bounds = bounds
        self._taken = taken
        self._placeholders = placeholders or PortPlaceholders()
        self._choose = choose
        self._lock = threading.Lock()
        self._reserved: set[int] = set()

    @contextmanager
    def reserved(self) -> Iterator[int]:
        """Reserve a free port for the block, and beyond it if ``keep`` is called in the block.

        Raises NoPortLeft.
        """
        with self._lock:
            port = self._pick()
            self._reserved.add(port)
        try:
            yield port
        finally:
            with self._lock:
                kept = port not in self._reserved
                self._reserved.discard(port)
            if not kept:
                self._placeholders.release(port)

    def keep(self, port: int) -> None:
        """Keep a reserved port beyond its reservation: an instance's row names it now."""
        with self._lock:
            self._reserved.discard(port)

    def hold(self, port: int) -> bool:
        """Hold a port that no server has; return False when another program has taken it."""
        return self._placeholders.hold(port)

    def admitting(self, port: int) -> AbstractContextManager[None]:
        """Let a server begin to listen on a held port within the block."""
        return self._placeholders.admitting(port)

    @contextmanager
    def releasing(self, port: int) -> Iterator[None]:
        """Release a port after a block in which its instance's row stops naming it.

        Until then no other instance gets it. The port stays held when the block raises.
        """
        with self._lock:
            self._reserved.add(port)
        try:
            yield
            self._placeholders.release(port)
        finally:
            with self._lock:
                self._reserved.discard(port)

    def close(self) -> None:
        """Release all ports."""
        self._placeholders.close()

    def in_range(self, port: int) -> bool:
        """Return whether a port is in the configured range."""
        first, last = self._bounds()
        return first <= port <= last

    def _pick(self) -> int:
        first, last = self._bounds()
        count = last - first + 1
        unusable = self._taken() | self._reserved
        start = self._choose(count)
        for offset in range(count):
            port = first + (start + offset) % count
            if port not in unusable and self._placeholders.hold(port):
                return port
        raise NoPortLeft(
            "no free port for an instance",
            f"all ports from {first} to {last} are taken: delete instances, or widen "
            "instances.ports in the configuration",
        )


def configured_ports(config: Config, instances: InstanceStore) -> Ports:
    """Return ports of the configured range, which may change at any time."""

    def bounds() -> tuple[int, int]:
        return config.value("instances.ports.first"), config.value("instances.ports.last")

    return Ports(bounds, instances.ports)
