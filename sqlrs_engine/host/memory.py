"""The machine's memory, and what a server takes of it; bytes, from ``/proc``."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

USUAL_SERVER = 8 * 1024**2
"""What an idle server takes, where it cannot be measured."""

_FIELD = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Machine:
    """How much memory there is, and how much of it programs can still have."""

    total: int
    available: int


class Memory(Protocol):
    """Measures."""

    def machine(self) -> Machine | None:
        """Return the machine's memory, None where it cannot be told."""

    def server(self, pid: int) -> int:
        """Return what a server takes, its processes together."""


class ProcMemory:
    """``Memory`` as Linux tells it."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def machine(self) -> Machine | None:
        """See ``Memory.machine``."""
        fields = _fields(self._proc / "meminfo")
        total, available = fields.get("MemTotal"), fields.get("MemAvailable")
        return None if total is None or available is None else Machine(total, available)

    def server(self, pid: int) -> int:
        """See ``Memory.server``; what processes share is divided among them."""
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
