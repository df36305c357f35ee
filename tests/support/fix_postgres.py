"""Fixtures: PostgreSQL, real and pretended."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.distribution import Distribution, Origin
from sqlrs_engine.postgres.os_user import OsUser

MakeCluster = Callable[..., Cluster]
FakePrograms = Callable[..., Path]


@pytest.fixture(scope="session")
def system_postgres(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """The machine's own PostgreSQL."""
    return _newest(tmp_path_factory, "system")


@pytest.fixture(scope="session")
def wheel_postgres(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """The PostgreSQL that the engine depends on as a Python package."""
    return _newest(tmp_path_factory, "wheel")


@pytest.fixture(scope="session", params=["system", "wheel"])
def distribution(request: pytest.FixtureRequest) -> Distribution:
    """Each PostgreSQL there is."""
    found: Distribution = request.getfixturevalue(f"{request.param}_postgres")
    return found


@pytest.fixture(scope="session")
def os_user() -> OsUser | None:
    """Who runs the servers: nobody else, unless the tests run as root."""
    return OsUser.for_engine(None)


@pytest.fixture(scope="session")
def public_root() -> Iterator[Path]:
    """Where programs out of the servers' user's reach are copied to."""
    root = Path(tempfile.mkdtemp(prefix="sqlrs-test-public-"))
    root.chmod(0o755)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def initialised(
    os_user: OsUser | None, public_root: Path
) -> Iterator[Callable[[Distribution], Path]]:
    """Return a container with an initialised cluster, made once for each distribution."""
    made: dict[str, Path] = {}

    def container(distribution: Distribution) -> Path:
        if distribution.image_id not in made:
            place = Path(tempfile.mkdtemp(prefix="sqlrs-test-base-"))
            made[distribution.image_id] = place
            cluster = _cluster(distribution, place, os_user, public_root)
            cluster.initdb(lambda line: None)
        return made[distribution.image_id]

    yield container
    for place in made.values():
        shutil.rmtree(place)


@contextmanager
def clusters(
    initialised: Callable[[Distribution], Path], os_user: OsUser | None, public_root: Path
) -> Iterator[MakeCluster]:
    """Yield a function that makes clusters; all are stopped and removed at the end."""
    with ExitStack() as cleanup:

        def make(
            distribution: Distribution, *, empty: bool = False, parent: Path | None = None
        ) -> Cluster:
            container = Path(tempfile.mkdtemp(prefix="sqlrs-test-", dir=parent))
            cleanup.callback(shutil.rmtree, container)
            if not empty:
                base = initialised(distribution)
                subprocess.run(["cp", "-a", base / "data", container], check=True)
            cluster = _cluster(distribution, container, os_user, public_root)
            cleanup.callback(cluster.stop, "immediate")
            return cluster

        yield make


@pytest.fixture
def make_cluster(
    initialised: Callable[[Distribution], Path], os_user: OsUser | None, public_root: Path
) -> Iterator[MakeCluster]:
    """Make clusters in directories of their own.

    ``empty`` leaves the ``initdb`` to the test, ``parent`` is where the directory goes.
    """
    with clusters(initialised, os_user, public_root) as make:
        yield make


@pytest.fixture(scope="module")
def running(
    distribution: Distribution,
    initialised: Callable[[Distribution], Path],
    os_user: OsUser | None,
    public_root: Path,
) -> Iterator[Cluster]:
    """A cluster that runs without a port, for tests that leave it as it is."""
    with clusters(initialised, os_user, public_root) as make:
        cluster = make(distribution)
        cluster.start(port=None)
        yield cluster


@pytest.fixture
def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def fake_programs() -> FakePrograms:
    """Write shell scripts that pass for PostgreSQL's programs as long as they only tell.

    Returns the ``bin`` directory. The scripts print ``banner``; ``script`` replaces what
    ``postgres`` does.
    """

    def write(
        bin_dir: Path, version: str, *, script: str | None = None, extra: tuple[str, ...] = ()
    ) -> Path:
        bin_dir.mkdir(parents=True, exist_ok=True)
        for name in ("postgres", "initdb", "psql", *extra):
            own = script if name == "postgres" else None
            text = own or f"echo '{name} (PostgreSQL) {version}'"
            program = bin_dir / name
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        return bin_dir

    return write


def _newest(factory: pytest.TempPathFactory, origin: Origin) -> Distribution:
    """Return the newest distribution of an origin, or skip the test."""
    search = [Path(each) for each in os.get_exec_path()]
    distributions = Distributions(factory.mktemp("distributions"), search=search)
    for each in distributions.available():
        if each.origin == origin:
            return distributions.get(each.image_id)
    pytest.skip(f"no PostgreSQL of origin {origin} here")


def _cluster(
    distribution: Distribution, container: Path, user: OsUser | None, public_root: Path
) -> Cluster:
    return Cluster(
        distribution,
        container / "data",
        os_user=user,
        log_file=container / "postgres.log",
        public_root=public_root,
    )
