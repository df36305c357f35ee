"""The options of an engine."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options of an engine.

    ``listen`` is ``HOST:PORT``; ``idle_timeout`` is in seconds, 0 or less for never;
    ``search_path`` is a ``PATH`` in which to look for installed PostgreSQL servers; ``builds`` is
    the directory of the servers that the user has downloaded, ``images`` that of the images of
    registries.
    """

    listen: str
    engine_file: Path
    store_root: Path
    run_dir: Path | None = None
    idle_timeout: float = 0.0
    version: str = "dev"
    search_path: str = ""
    builds: Path | None = None
    images: Path | None = None
