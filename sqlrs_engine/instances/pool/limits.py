"""The number of standbys that the configuration and the machine's memory allow."""

from sqlrs_engine.config import Config
from sqlrs_engine.host.memory import USUAL_SERVER, Memory

ENABLED = "pool.enabled"
MAX_STANDBYS = "pool.maxStandbys"
MAX_MEMORY = "pool.maxMemory"
RESERVE_MEMORY = "pool.reserveMemory"

_DEFAULT_RESERVE_SHARE = 10
"""Without a configured reserve, this fraction of the machine's memory stays free."""


class Limits:
    """The limit on the number of standbys; safe to use from any thread."""

    def __init__(self, config: Config, memory: Memory) -> None:
        self._config = config
        self._memory = memory
        self._server_size = USUAL_SERVER

    def enabled(self) -> bool:
        """Return whether the pool is turned on."""
        return bool(self._config.value(ENABLED))

    def standbys(self) -> int:
        """Return how many standbys there may be now; 0 while the machine is short of memory."""
        if not self.enabled() or self._short_of_memory():
            return 0
        by_memory = int(self._config.value(MAX_MEMORY)) // self._server_size
        return min(int(self._config.value(MAX_STANDBYS)), by_memory)

    def measure(self, pid: int) -> int:
        """Return the bytes of memory that a server takes; assume the same for the next ones."""
        size = self._memory.server(pid)
        self._server_size = max(size, 1)
        return size

    def _short_of_memory(self) -> bool:
        machine = self._memory.machine()
        if machine is None:
            return False
        reserve = self._config.value(RESERVE_MEMORY)
        if reserve is None:
            reserve = machine.total // _DEFAULT_RESERVE_SHARE
        return machine.available < int(reserve)
