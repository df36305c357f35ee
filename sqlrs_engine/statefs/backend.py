"""What differs between the ways to clone: how a container is made and how it is filled."""

from pathlib import Path
from typing import Protocol

Owner = tuple[int, int]
"""User and group id."""


class Backend(Protocol):
    """A way to clone. Every backend copes with containers that another one made."""

    @property
    def name(self) -> str:
        """The value of ``snapshot.backend`` that asks for it."""

    @property
    def copy_on_write(self) -> bool:
        """Whether a clone shares its blocks with its source until they are written."""

    def create(self, container: Path) -> None:
        """Make a container of mode 0700 with nothing but the marker in it."""

    def clone(self, source: Path, container: Path, owner: Owner | None) -> None:
        """Make ``container`` a writable copy of ``source``, in the same filesystem.

        Its data directory, which belongs to ``owner``, is without the files by which a
        server says that it runs. Raises OSError; what was made by then is left there.
        """

    def settle(self, root: Path) -> None:
        """Wait until the filesystem has back the space of what was deleted."""
