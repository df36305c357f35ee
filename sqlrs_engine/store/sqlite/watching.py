"""Nobody follows the rows."""

from collections.abc import Collection

from sqlrs_engine.store import Labelled


class Unwatched:
    """``Watcher`` of a store without one."""

    def kept(self, record: Labelled, changed: Collection[str] | None = None) -> None:
        """Do nothing."""

    def gone(self, kind: type[Labelled], key: str) -> None:
        """Do nothing."""
