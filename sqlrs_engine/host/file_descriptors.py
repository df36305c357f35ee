"""Shortages of file descriptors and memory, recognised behind other failures."""

import errno
import os
import resource
from collections.abc import Iterator

from sqlrs_engine.errors import Unavailable

MOST_DESCRIPTORS = 65536
"""The highest limit that is requested: some programs loop over all possible descriptors."""
FEW_DESCRIPTORS = 1024

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


def raise_descriptor_limit() -> int:
    """Raise the soft limit of this process as far as possible; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return descriptor_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def shortage(error: BaseException) -> Unavailable | None:
    """Return the error for a shortage that caused a failure; return None when none did."""
    for seen in _causes(error):
        if isinstance(seen, Unavailable):
            return None  # it is reported already
        if isinstance(seen, OSError) and seen.errno in _NO_DESCRIPTOR:
            return no_descriptors()
        if isinstance(seen, MemoryError) or getattr(seen, "errno", None) == errno.ENOMEM:
            return Unavailable(
                "the machine has run out of memory: stop other programs, then try again",
                str(seen) or None,
            )
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield a failure and its causes, each once: a chain of causes may be circular."""
    seen: list[BaseException] = []
    left: BaseException | None = error
    while left is not None and left not in seen:
        yield left
        seen.append(left)
        left = left.__cause__ or left.__context__


def no_descriptors() -> Unavailable:
    """Return the error for a process without descriptors left."""
    return Unavailable(
        "the engine has run out of file descriptors: close connections and wait for jobs, or "
        "start it with a higher limit (ulimit -n)",
        f"at most {descriptor_limit()} are allowed",
    )


def out_of_descriptors() -> bool:
    """Return whether this process has no file descriptor left at this moment.

    This is for libraries that only report that they could not open a file.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _NO_DESCRIPTOR
    return False
