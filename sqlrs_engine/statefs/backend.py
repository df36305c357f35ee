"""The interface of the backends, which create and clone containers."""

from pathlib import Path
from typing import Protocol

Owner = tuple[int, int]
"""User and group id."""


class Backend(Protocol):
    """A way to clone. Every backend accepts containers that another one made."""

    @property
    def name(self) -> str:
        """The value of ``snapshot.backend`` that selects it."""

    @property
    def copy_on_write(self) -> bool:
        """Whether a clone shares its blocks with its source until they are written."""

    def create(self, container: Path) -> None:
        """Make a container of mode 0700 that holds only the marker."""

    def clone(self, source: Path, container: Path, owner: Owner | None) -> None:
        """Make ``container`` a writable copy of ``source``, in the same filesystem.

        Its data directory belongs to ``owner`` and lacks the files by which a running server is
        known. Raises OSError and leaves what it has made so far.
        """

    def settle(self, root: Path) -> None:
        """Wait until the filesystem has regained the space of deleted containers."""
