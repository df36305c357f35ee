"""The process's heap, set up for a server that answers with long lists again and again."""

import ctypes
import gc
import logging

_ALLOCATIONS = 20_000
"""Containers made between two collections; one list's answer makes thousands of tuples."""

_MIB = 1024**2
# mallopt(3). By default glibc gives the memory of every long answer back to the system, and
# the next answer's memory is zeroed anew, page by page: a third of the time of long lists.
_SETTINGS = (
    (-3, 4 * _MIB),  # M_MMAP_THRESHOLD: smaller blocks come from the heap
    (-1, 16 * _MIB),  # M_TRIM_THRESHOLD: so much is kept at its end
    (-2, 1 * _MIB),  # M_TOP_PAD
)

_log = logging.getLogger(__name__)


def settle() -> None:
    """Keep memory for the next answer, and what start-up has made out of collections."""
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is None:
        return
    for parameter, size in _SETTINGS:
        if not mallopt(parameter, size):
            _log.debug("mallopt refuses parameter %d", parameter)
