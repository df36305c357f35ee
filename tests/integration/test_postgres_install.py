"""The real thing: a PostgreSQL from the package index."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from sqlrs_engine.errors import Unavailable
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.distributions.install import install
from sqlrs_engine.postgres.extension_check import failing_extensions
from sqlrs_engine.postgres.os_user import OsUser

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

MAJOR = 16


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sqlrs-test-") as root:
        yield Path(root) / "distributions"


@pytest.fixture(scope="module")
def installed(root: Path, os_user: OsUser | None) -> Distribution:
    try:
        return install(MAJOR, root, print, check=partial(failing_extensions, os_user=os_user))
    except Unavailable as error:
        pytest.skip(str(error))


def test_an_image_resolves_to_the_installed_version(installed: Distribution, root: Path) -> None:
    assert installed.major == MAJOR
    assert Distributions(root).resolve(f"postgres:{MAJOR}") == installed


def test_an_installed_version_runs_a_query(
    installed: Distribution, make_cluster: Callable[..., Cluster], free_port: int
) -> None:
    cluster = make_cluster(installed, empty=True)
    cluster.initdb(lambda line: None)
    cluster.start(port=free_port)
    cluster.set_password(free_port, "secret")
    with cluster.connect(free_port) as connection:
        connection.execute("CREATE EXTENSION pgcrypto")
        row = connection.execute("SELECT crypt('x', gen_salt('md5')), version()").fetchone()
        assert row is not None
        assert str(row[1]).startswith(f"PostgreSQL {installed.version} ")
    psql = cluster.client(
        "psql", ["-XAtc", "SHOW server_version"], port=free_port, stdout=subprocess.PIPE
    )
    assert psql.communicate(timeout=30)[0].decode().strip() == installed.version
    cluster.stop("fast")


def test_an_installed_version_has_only_extensions_that_work(
    installed: Distribution, os_user: OsUser | None
) -> None:
    assert {"pgcrypto", "uuid-ossp", "postgres_fdw", "dblink"} <= set(installed.extensions)
    assert failing_extensions(installed, installed.extensions, os_user) == {}


def test_installing_a_version_again_changes_nothing(installed: Distribution, root: Path) -> None:
    told: list[str] = []
    check = partial(failing_extensions, os_user=None)
    assert install(MAJOR, root, told.append, check=check) == installed
    assert any("installed already" in line for line in told)
    assert not any("unpacking" in line for line in told)
