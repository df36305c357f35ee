"""The cache of states and dumps: its limits, evictions, and whether a prepare would hit.

* ``capacity``: the limits, and when the cache is under pressure
* ``accounts``: what the states and dumps take now, and what could be evicted
* ``candidates``, ``eviction``, ``last_eviction``: which states are evicted, how, and a summary
* ``enforcement``: the disk budget of instances, builds and dumps, kept by eviction
* ``refusals``: what does not fit even so
* ``report``, ``explain``, ``differences``: reports for clients; on a miss, the inputs that differ
"""

from .accounts import Accounts
from .capacity import Disk
from .enforcement import Enforcement
from .eviction import Evictor
from .last_eviction import LastEviction
from .report import CacheReport

__all__ = ["Accounts", "CacheReport", "Disk", "Enforcement", "Evictor", "LastEviction"]
