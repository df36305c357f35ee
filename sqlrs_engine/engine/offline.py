"""Reads a state store for commands, without a running engine."""

import os
from pathlib import Path
from typing import Any

from sqlrs_engine.config import Config
from sqlrs_engine.postgres.distributions.catalog import Distributions


def distributions(store_root: Path, search_path: str, builds: Path | None = None) -> Distributions:
    """Return the PostgreSQL versions that a store's engine can use.

    ``search_path`` is a ``PATH``. ``builds`` holds the user's own downloads; earlier versions kept
    them in the store.
    """
    search = [Path(each) for each in search_path.split(os.pathsep) if each.startswith("/")]
    return Distributions(store_root / "postgres", builds=[builds] if builds else [], search=search)


def configuration(store_root: Path) -> Config:
    """Return the configuration of a store's engine; nothing is written."""
    return Config(store_root / "config.json")


def configured(store_root: Path, path: str) -> Any:
    """Return the value in force at a path of the configuration of a store's engine."""
    return configuration(store_root).value(path)
