"""The machine's memory and the memory of a server, in bytes, from ``/proc``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

USUAL_SERVER = 8 * 1024**2
"""The memory of an idle server, assumed where it cannot be measured."""

_FIELD = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """The memory of the machine, and the part that programs can still get."""

    total: int
    available: int


class Memory(Protocol):
    """Measures memory."""

    def machine(self) -> Machine | None:
        """Return the machine's memory, None where it cannot be measured."""

    def server(self, pid: int) -> int:
        """Return the memory of a server with all its processes."""


class ProcMemory:
    """Reads memory from the ``/proc`` of Linux."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def machine(self) -> Machine | None:
        """See ``Memory.machine``."""
        fields = _fields(self._proc / "meminfo")
        total, available = fields.get("MemTotal"), fields.get("MemAvailable")
        return None if total is None or available is None else Machine(total, available)

    def server(self, pid: int) -> int:
        """See ``Memory.server``; shared memory counts once (PSS)."""
        shares = [
            _fields(self._proc / str(each) / "smaps_rollup").get("Pss")
            for each in self._family(pid)
        ]
        return sum(share for share in shares if share) or USUAL_SERVER

    def _family(self, pid: int) -> list[int]:
        try:
            children = (self._proc / str(pid) / "task" / str(pid) / "children").read_text()
        except OSError:
            return [pid]
        return [pid, *map(int, children.split())]


def _fields(file: Path) -> dict[str, int]:
    try:
        text = file.read_text()
    except OSError:
        return {}
    return {name: int(size) * 1024 for name, size in _FIELD.findall(text)}
