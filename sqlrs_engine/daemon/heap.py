"""The heap of the process, tuned for a server that repeatedly returns long lists."""

import ctypes
import gc
import logging

_ALLOCATIONS = 20_000
"""Objects allocated between two collections; a list of 1,000 rows makes thousands of tuples."""

_MIB = 1024**2
# mallopt(3). By default glibc returns the memory of every long response to the system, which zeroes
# it again, page by page, for the next one: a third of the time of a long list.
_SETTINGS = (
    (-3, 4 * _MIB),  # M_MMAP_THRESHOLD: smaller blocks come from the heap
    (-1, 16 * _MIB),  # M_TRIM_THRESHOLD: how much stays free at its end
    (-2, 1 * _MIB),  # M_TOP_PAD
)

_log = logging.getLogger(__name__)


def settle() -> None:
    """Keep freed memory for the next response, and exclude start-up's objects from collections."""
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return
    for parameter, size in _SETTINGS:
        if not mallopt(parameter, size):
            _log.debug("mallopt refuses parameter %d", parameter)
