"""Reads a state store for commands, without a running engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlrs_engine.config import Config
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.stored_images import StoredImages
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.statefs.layout import Layout

from .images import distributions as found
from .images import stored_images


def distributions(
    store_root: Path, search_path: str, builds: Path | None = None, images: Path | None = None
) -> Distributions:
    """Return the PostgreSQL versions that a store's engine can use.

    ``search_path`` is a ``PATH``. ``builds`` holds the user's own downloads; earlier versions kept
    them in the store. ``images`` is the place of the images of registries.
    """
    pulled = stored(images, store_root, {}) if images else None
    return found(store_root, search_path, builds, pulled)


def stored(root: Path, store_root: Path, environ: Mapping[str, str]) -> StoredImages:
    """Return the images in ``root``, pulled as the configuration of a store's engine says.

    ``environ`` leads to the user's credentials for registries.
    """
    config = configuration(store_root)
    os_user = config.settle("postgres.osUser", OsUser.for_engine)
    return stored_images(root, store_root, config, os_user, environ)


def states_of(store_root: Path, image_id: str) -> int:
    """Return how many states of a store were made with an image."""
    name = image_id.rpartition(":")[2]
    return sum(path.parents[1].name == name for path in Layout(store_root).state_dirs())


def configuration(store_root: Path) -> Config:
    """Return the configuration of a store's engine; nothing is written."""
    return Config(store_root / "config.json")


def configured(store_root: Path, path: str) -> Any:
    """Return the value in force at a path of the configuration of a store's engine."""
    return configuration(store_root).value(path)
