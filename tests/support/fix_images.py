"""Fixtures: a registry with images of PostgreSQL, and a proxy that fails.

The images and the registry's storage are made once per run, by the first process that needs them;
each process has a registry of its own on that storage.
"""

import contextlib
import fcntl
import os
import pickle
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.images.image_store import ImageStore
from support.base_states import SHARED
from support.directories import remove_tree
from support.fault_proxy import FaultyRegistry, faulty
from support.fix_engine import EngineFactory, EngineProcess, engines
from support.images import Image, Index, LayerWriter, push
from support.postgres_images import postgis_image, small_image, small_layers
from support.registry import Registry, find_program, registries

POSTGIS = "postgis/postgis"
POSTGIS_TAG = "15-3"
SMALL = "library/postgres"
SMALL_TAG = "18-small"
MUSL_FILES = "SQLRS_TEST_MUSL_POSTGRES"


PushImage = Callable[..., "PushedImage"]


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
def musl_postgres(push_image: PushImage, tmp_path: Path) -> PushedImage:
    """An image like Alpine's: PostgreSQL on musl.

    No package of Debian, PyPI or npm has such a build, and making one takes minutes. So the
    variable ``SQLRS_TEST_MUSL_POSTGRES`` names an archive with the root file system: the output of
    ``make install-world-bin`` below ``usr/local``, built with ``CC=musl-gcc`` (Debian's musl-tools)
    and ``--with-system-tzdata=/usr/share/zoneinfo``; musl's ``libc.so`` as
    ``lib/ld-musl-x86_64.so.1``; and ``usr/share/zoneinfo``.
    """
    files = os.environ.get(MUSL_FILES)
    if files is None:
        pytest.skip(f"{MUSL_FILES} names no root file system with PostgreSQL on musl")
    unpacked = tmp_path / "musl"
    unpacked.mkdir()
    subprocess.run(["tar", "xf", files, "-C", unpacked], check=True)
    with LayerWriter(tmp_path / "musl.tar") as tree:
        tree.tree(unpacked, ".")
    return push_image(small_image((tree.layer,), "LANG=en_US.utf8", "PG_MAJOR=15"))


@pytest.fixture
def push_image(registry: Registry) -> PushImage:
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


@pytest.fixture
def image_store() -> Iterator[Path]:
    """A directory for the images of the test's own engines, which the servers' user reaches."""
    with _public_directory() as store:
        yield store


@pytest.fixture(scope="session")
def shared_image_store() -> Path:
    """A directory for the images that the whole run shares: what was pulled stays."""
    store = _shared().parent / "image-store"
    store.parent.chmod(0o755)
    store.mkdir(exist_ok=True)
    return store


@pytest.fixture(scope="session")
def _engine_with_images() -> Iterator[tuple[EngineProcess, Path]]:
    with _public_directory() as store, engines() as make:
        environ = {"SQLRS_IMAGE_STORE": str(store)}
        yield make("--idle-timeout", "0", environ=environ).start(), store


@pytest.fixture
def pulling_engine(_engine_with_images: tuple[EngineProcess, Path]) -> Iterator[EngineProcess]:
    """A running engine that the session shares, without an image at first.

    Its states stay: those of an image that is pulled again serve again.
    """
    engine, root = _engine_with_images
    yield engine
    engine.call("PATCH", "/v1/config", json={"path": "images", "value": None})
    store = ImageStore(root)
    for image in store.images():
        store.remove(image.digest)
    store.collect()


@pytest.fixture
def pulling_engine_store(_engine_with_images: tuple[EngineProcess, Path]) -> Path:
    """The image store of ``pulling_engine``."""
    return _engine_with_images[1]


@pytest.fixture
def own_pulling_engine(engine_factory: EngineFactory, image_store: Path) -> EngineProcess:
    """A running engine of the test's own, without an image."""
    environ = {"SQLRS_IMAGE_STORE": str(image_store)}
    return engine_factory("--idle-timeout", "0", environ=environ).start()


@contextlib.contextmanager
def _public_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sqlrs-test-images-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        remove_tree(directory)
