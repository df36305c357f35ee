"""The control file: whether a server shut down cleanly (``src/include/catalog/pg_control.h``)."""

import os
import struct
from pathlib import Path

_SHUT_DOWN = 1  # DB_SHUTDOWNED
# system_identifier, pg_control_version, catalog_version_no, state: the same in 14 to 18.
_HEAD = struct.Struct("=QIIi")


def shut_down_cleanly(data_dir: Path) -> bool:
    """Return whether all is in the data files, so that the next start recovers nothing."""
    try:
        # The directory belongs to the database's superuser: follow no link, wait on no pipe.
        descriptor = os.open(
            data_dir / "global" / "pg_control", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        )
    except OSError:
        return False
    with os.fdopen(descriptor, "rb") as file:
        head = file.read(_HEAD.size)
    return len(head) == _HEAD.size and _HEAD.unpack(head)[3] == _SHUT_DOWN
