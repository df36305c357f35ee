"""TCP ports for instances: chosen from the configured range, kept for an instance's life."""

import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Unavailable

LOOPBACK = "127.0.0.1"


class NoPortLeft(Unavailable):
    """The range has no free port."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on a port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As PostgreSQL does: connections that linger in TIME_WAIT do not matter.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


class Ports:
    """Chooses ports that neither an instance nor another program has."""

    def __init__(
        self,
        bounds: Callable[[], tuple[int, int]],
        taken: Callable[[], set[int]],
        *,
        free: Callable[[int], bool] = is_free,
        choose: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        """``bounds`` gives the first and last port, ``taken`` those of existing instances.

        ``choose(n)`` picks where in the range to begin: a random place makes it unlikely
        that a new instance answers at the port of one just deleted.
        """
        self._bounds = bounds
        self._taken = taken
        self._free = free
        self._choose = choose
        self._lock = threading.Lock()
        self._reserved: set[int] = set()

    @contextmanager
    def reserved(self) -> Iterator[int]:
        """Keep a free port from others until its instance has a row.

        Raises NoPortLeft.
        """
        with self._lock:
            port = self._pick()
            self._reserved.add(port)
        try:
            yield port
        finally:
            with self._lock:
                self._reserved.discard(port)

    def in_range(self, port: int) -> bool:
        """Tell whether a port is one that a new instance could have."""
        first, last = self._bounds()
        return first <= port <= last

    def _pick(self) -> int:
        first, last = self._bounds()
        count = last - first + 1
        unusable = self._taken() | self._reserved
        start = self._choose(count)
        for offset in range(count):
            port = first + (start + offset) % count
            if port not in unusable and self._free(port):
                return port
        raise NoPortLeft(
            "no free port for an instance",
            f"ports {first} to {last} are all taken: delete instances, or widen"
            " instances.ports in the configuration",
        )
