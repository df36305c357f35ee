"""Fixtures: a registry with images of PostgreSQL, and a proxy that fails.

The images and the registry's storage are made once per run, by the first process that needs them;
each process has a registry of its own on that storage.
"""

import contextlib
import fcntl
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.distribution import Distribution
from support.base_states import SHARED
from support.fault_proxy import FaultyRegistry, faulty
from support.images import Image, Index, push
from support.postgres_images import postgis_image, small_image, small_layers
from support.registry import Registry, find_program, registries

POSTGIS = "postgis/postgis"
POSTGIS_TAG = "15-3"
SMALL = "library/postgres"
SMALL_TAG = "18-small"


@dataclass(frozen=True)
class PushedImage:
    """An image in a registry."""

    registry: Registry
    repository: str
    tag: str
    image: Image | Index

    @property
    def reference(self) -> str:
        """The reference with the tag."""
        return f"{self.registry.host}/{self.repository}:{self.tag}"

    @property
    def by_digest(self) -> str:
        """The reference with the digest of the manifest."""
        return f"{self.registry.host}/{self.repository}@{self.image.digest}"

    def through(self, proxy: FaultyRegistry) -> str:
        """Return the reference of the same image behind a proxy."""
        return f"{proxy.host}/{self.repository}:{self.tag}"


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry that asks for no credentials; what tests push goes with the run."""
    find_program()
    with registries(_shared() / "storage") as running:
        yield running


@pytest.fixture(scope="session")
def protected_registry(registry: Registry) -> Iterator[Registry]:
    """A registry with the same images, for one user only."""
    with registries(registry.storage, protected=True) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[FaultyRegistry]:
    """A proxy of the test's own before the registry."""
    with faulty(registry) as running:
        yield running


@pytest.fixture(scope="session")
def small_postgres(registry: Registry, wheel_postgres: Distribution) -> PushedImage:
    """A small image: the PostgreSQL of the Python package with this machine's C library."""

    def make(directory: Path) -> Image:
        return small_image(small_layers(wheel_postgres.bin_dir.parent, directory))

    image = _once("small", registry, SMALL, SMALL_TAG, make)
    return PushedImage(registry, SMALL, SMALL_TAG, image)


@pytest.fixture(scope="session")
def postgis(registry: Registry) -> PushedImage:
    """A large image like the official ones: Debian's PostgreSQL with PostGIS and more."""
    image = _once("postgis", registry, POSTGIS, POSTGIS_TAG, postgis_image)
    return PushedImage(registry, POSTGIS, POSTGIS_TAG, image)


@pytest.fixture
def push_image(registry: Registry) -> Callable[..., PushedImage]:
    """Push an image to a repository of the test's own, or to the named one."""

    def push_it(
        image: Image | Index, tag: str = "latest", repository: str | None = None
    ) -> PushedImage:
        name = repository or f"tests/r{uuid.uuid4().hex[:12]}"
        with registry.client() as client:
            push(client, name, tag, image)
        return PushedImage(registry, name, tag, image)

    return push_it


def _once(
    name: str, registry: Registry, repository: str, tag: str, make: Callable[[Path], Image]
) -> Image:
    """Make and push an image, unless another process of the run has done so."""
    directory = _shared() / name
    with _locked(directory):
        record = directory / "image.pickle"
        if record.exists():
            image: Image = pickle.loads(record.read_bytes())
            return image
        directory.mkdir(exist_ok=True)
        image = make(directory)
        with registry.client() as client:
            push(client, repository, tag, image)
        record.write_bytes(pickle.dumps(image))
        return image


def _shared() -> Path:
    root = Path(os.environ[SHARED]) / "images"
    root.mkdir(exist_ok=True)
    return root


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with directory.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
