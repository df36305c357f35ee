"""TCP ports for instances: chosen from the configured range, kept for an instance's life.

From its choice on a port is held (``placeholders``), so that no other program gets it while
the instance's server is down, as far as this engine has started or missed that server.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from sqlrs_engine.errors import Unavailable

from .placeholders import Placeholders


class NoPortLeft(Unavailable):
    """The range has no free port."""


class Ports:
    """Chooses ports that neither an instance nor another program has."""

    def __init__(
        self,
        bounds: Callable[[], tuple[int, int]],
        taken: Callable[[], set[int]],
        *,
        placeholders: Placeholders | None = None,
        choose: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        """``bounds`` gives the first and last port, ``taken`` those of existing instances.

        ``choose(n)`` picks where in the range to begin: a random place makes it unlikely
        that a new instance answers at the port of one just deleted.
        """
        self._bounds = bounds
        self._taken = taken
        self._placeholders = placeholders or Placeholders()
        self._choose = choose
        self._lock = threading.Lock()
        self._reserved: set[int] = set()

    @contextmanager
    def reserved(self) -> Iterator[int]:
        """Keep a free port from others; for good if ``keep`` is called before the end.

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
        """Note that a reserved port is in an instance's row."""
        with self._lock:
            self._reserved.discard(port)

    def hold(self, port: int) -> bool:
        """Hold the port of an instance whose server is down; False when it was lost."""
        return self._placeholders.hold(port)

    def admitting(self, port: int) -> AbstractContextManager[None]:
        """Let an instance's server have its port, if it takes it within the block."""
        return self._placeholders.admitting(port)

    def release(self, port: int) -> None:
        """Give up the port of an instance that is no more."""
        self._placeholders.release(port)

    def close(self) -> None:
        """Hold no port any more: the engine stops."""
        self._placeholders.close()

    def in_range(self, port: int) -> bool:
        """Return whether a port is one that a new instance could have."""
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
