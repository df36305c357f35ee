"""What is mounted where, as the kernel tells."""

import re
from collections.abc import Iterator
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_MOUNT_POINT = 4
_ESCAPED = re.compile(r"\\([0-7]{3})")


def mounts_in(directory: Path) -> list[Path]:
    """Return the mount points on or below a directory, given by its real path."""
    return [place for place in _mount_points() if place.is_relative_to(directory)]


def _mount_points() -> Iterator[Path]:
    for line in _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        yield Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), line.split(" ")[_MOUNT_POINT]))
