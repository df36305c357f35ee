"""The cache of states: its limits, evictions, and whether a prepare would hit.

* ``capacity``: the limits, and when the cache is under pressure
* ``accounts``: what the states take now, and what could be evicted
* ``candidates``, ``eviction``, ``last_eviction``: which states are evicted, how, and a summary
* ``enforcement``: the disk budget of instances and builds, kept by eviction
* ``report``, ``explain``, ``differences``: reports for clients; on a miss, the inputs that differ
"""

from .accounts import Accounts
from .capacity import Disk
from .enforcement import Enforcement
from .eviction import Evictor
from .last_eviction import LastEviction
from .report import CacheReport

__all__ = ["Accounts", "CacheReport", "Disk", "Enforcement", "Evictor", "LastEviction"]
