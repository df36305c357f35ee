"""A full disk, said in a way that helps."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: OSError) -> bool:
    """Tell whether an error says that no space is left."""
    return error.errno in _FULL


@contextmanager
def space_on(root: Path) -> Iterator[None]:
    """Turn a full filesystem, or a quota used up, into StorageFull."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise StorageFull(
            "the disk that holds the state store is full: delete states or instances "
            "(sqlrs-engine rm), or make room",
            f"{root}: {error.strerror}",
        ) from error
