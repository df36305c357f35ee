"""PostgreSQL on this machine, wired: what is installed, and the images of registries."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlrs_engine.config import Config
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.known_images import KnownImages
from sqlrs_engine.postgres.distributions.stored_images import Policy, StoredImages
from sqlrs_engine.postgres.images.image_store import ImageStore, StoredImage
from sqlrs_engine.postgres.images.manifests import ImageConfig
from sqlrs_engine.postgres.images.programs import ImagePrograms
from sqlrs_engine.postgres.images.progress import OnProgress
from sqlrs_engine.postgres.images.references import Reference
from sqlrs_engine.postgres.images.registry_hosts import RegistrySettings, registry_settings
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.processes.cancellation import Cancellation


def distributions(
    store_root: Path,
    search_path: str,
    builds: Path | None = None,
    images: StoredImages | None = None,
    config: Config | None = None,
) -> Distributions:
    """Return the PostgreSQL versions that a store's engine can use.

    ``search_path`` is a ``PATH``. ``builds`` holds the user's own downloads; earlier versions kept
    them in the store. ``config`` decides whether jobs may download extensions.
    """
    return Distributions(
        store_root / "postgres",
        builds=[builds] if builds else [],
        search=[Path(each) for each in search_path.split(os.pathsep) if each.startswith("/")],
        images=images,
        may_fetch=lambda: config is None or config.value("images.pull") != "never",
    )


def stored_images(
    root: Path,
    store_root: Path,
    config: Config,
    os_user: OsUser | None,
    environ: Mapping[str, str],
) -> StoredImages:
    """Return the images in ``root``, pulled as the configuration says at that time.

    ``os_user`` runs their servers when the engine is root. ``environ`` leads to the user's
    credentials for registries.
    """
    store = ImageStore(root)
    source = _Source(store, os_user, environ)
    known = KnownImages(store_root / "images.json")
    return StoredImages(store, source, _Settings(config), known)


class _Settings:
    """The settings of pulls in a configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def policy(self) -> Policy:
        policy: Policy = self._config.value("images.pull")
        return policy

    def registries(self) -> Mapping[str, RegistrySettings]:
        return registry_settings(self._config.value("images.registries"))


class _Source:
    """Where images come from: its modules are imported on first use, as most engines never pull."""

    def __init__(
        self, store: ImageStore, os_user: OsUser | None, environ: Mapping[str, str]
    ) -> None:
        self._store = store
        self._os_user = os_user
        self._environ = environ

    def pull(
        self,
        reference: Reference,
        registries: Mapping[str, RegistrySettings],
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> StoredImage:
        from sqlrs_engine.postgres.images.credentials import Credentials
        from sqlrs_engine.postgres.images.pull import RegistryAccess, pull

        return pull(
            reference,
            self._store,
            RegistryAccess(registries=registries, credentials=Credentials(self._environ)),
            make_runnable=self._make_runnable,
            on_progress=on_progress,
            cancellation=cancellation,
        )

    def load(
        self,
        file: Path,
        name: Reference | None,
        on_progress: OnProgress,
        cancellation: Cancellation,
    ) -> Sequence[StoredImage]:
        from sqlrs_engine.postgres.images.archives import load

        return load(
            file,
            self._store,
            name=name,
            make_runnable=self._make_runnable,
            on_progress=on_progress,
            cancellation=cancellation,
        )

    def _make_runnable(self, rootfs: Path, config: ImageConfig) -> ImagePrograms:
        from sqlrs_engine.postgres.images.relocation import make_runnable

        return make_runnable(rootfs, config, os_user=self._os_user)
