"""The interface of what follows the rows of a store."""

from collections.abc import Collection
from typing import Protocol

from .records import Instance, Name, State

Labelled = State | Instance | Name
"""The records whose loss a ``Watcher`` can make good."""


class Watcher(Protocol):
    """Follows the rows of states, instances and names; called after each commit.

    It never raises: the committed change stands.
    """

    def stored(self, record: Labelled, changed: Collection[str] | None = None) -> None:
        """Note that a row was added, or that these fields of it were changed."""

    def removed(self, kind: type[Labelled], key: str) -> None:
        """Note that a row was removed."""
