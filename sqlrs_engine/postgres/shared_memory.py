"""Shared memory that a killed server leaves behind.

Memory that a server maps for its processes ends with them, but two kinds have names and stay:
a System V segment of 56 bytes, and segments in ``/dev/shm``, a megabyte or more. The next
start on the same directory would remove them. Those of deleted directories would fill
``/dev/shm``, which is small in a container.

The layouts are those of ``PGShmemHeader`` and ``dsm_control_header``, the same since
version 14 at least. Only segments with the right marks are removed.
"""

import ctypes
import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path

DEVICE_DIR = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory is
_HEADER = struct.Struct("=i4xQQI4xQQQ")  # magic, …, control segment, …, device, inode
_HEADER_MAGIC = 679834894
_CONTROL = struct.Struct("=III4x")  # magic, items, items at most
_CONTROL_MAGIC = 0x9A503D32
_ITEM = struct.Struct("=IIQQQ8x")  # handle, references, …
_LIMIT_BYTES = 16 * 1024 * 1024
_READ_ONLY = 0o10000
_REMOVE = 0
_FAILED = ctypes.c_void_p(-1).value

_log = logging.getLogger(__name__)


def release(data_dir: Path, segment: int) -> None:
    """Remove the shared memory of a dead server, given the id of its System V segment.

    Do nothing when the segment is gone or belongs to another program.
    """
    try:
        status = data_dir.stat()
        header = _attached(segment)
        if header is None:
            return
        magic, _, _, control, _, device, inode = _HEADER.unpack(header)
        if (magic, device, inode) != (_HEADER_MAGIC, status.st_dev, status.st_ino):
            return
        for handle in (*_listed(control, status.st_uid), control):
            _unlink(_path(handle), status.st_uid)
        _libc().shmctl(segment, _REMOVE, None)
    except OSError as error:
        _log.warning("cannot remove the shared memory of %s: %s", data_dir, error)


def _attached(segment: int) -> bytes | None:
    """Return the beginning of a System V segment, None when there is none."""
    libc = _libc()
    address = libc.shmat(segment, None, _READ_ONLY)
    if address == _FAILED:
        return None
    try:
        return ctypes.string_at(address, _HEADER.size)
    finally:
        libc.shmdt(ctypes.c_void_p(address))


def _listed(control: int, owner: int) -> Iterator[int]:
    """Yield the handles of the segments that a control segment lists as in use."""
    path = _path(control)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(descriptor).st_uid != owner:
            return
        content = file.read(_LIMIT_BYTES)
    if len(content) < _CONTROL.size:
        return
    magic, count, _ = _CONTROL.unpack_from(content)
    items = content[_CONTROL.size :][: count * _ITEM.size]
    if magic != _CONTROL_MAGIC or len(items) < count * _ITEM.size:
        return
    for handle, references, *_ in _ITEM.iter_unpack(items):
        if references:
            yield handle


def _unlink(path: Path, owner: int) -> None:
    """Remove a segment if it is the server's own, whatever the server wrote."""
    if os.path.lexists(path) and path.lstat().st_uid == owner:
        path.unlink(missing_ok=True)


def _path(handle: int) -> Path:
    return DEVICE_DIR / f"PostgreSQL.{handle}"


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    libc.shmat.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
    return libc
