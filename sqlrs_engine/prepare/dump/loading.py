"""Settings of a server to which a dump is restored."""

import os
from typing import Any

from sqlrs_engine.host.memory import Machine

MIB = 1024**2

_LEAST = 64 * MIB  # PostgreSQL's default
_MOST = 256 * MIB  # more made no index faster
_SHARE = 8


def loading_settings(machine: Machine | None, cores: int | None = None) -> dict[str, Any]:
    """Return the settings for a machine of this memory, None if that is unknown.

    Each core builds an index at a time, and all of them together use a part of the free memory.
    Nothing has to be vacuumed or analysed meanwhile.
    """
    cores = cores or len(os.sched_getaffinity(0))
    fair = machine.available // _SHARE // cores if machine else 0
    memory = min(max(fair, _LEAST), _MOST)
    return {
        "maintenance_work_mem": f"{memory // MIB}MB",
        "checkpoint_timeout": "1h",
        "autovacuum": False,
    }
