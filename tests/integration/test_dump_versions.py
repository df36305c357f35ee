"""Restores of dumps of all major versions, with the PostgreSQLs from the package index."""

import tempfile
from pathlib import Path

import pytest
from support import real_dumps
from support.fix_postgres import clusters
from support.fix_store import Store, query

from sqlrs_engine.errors import ImageUnavailable, Unavailable
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.install import install

pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(600)]

MAJORS = (14, 16, 17, 18)
_COMPRESSES = 16  # the first pg_dump that knows lz4 and zstd


@pytest.fixture(scope="module")
def builds():
    with tempfile.TemporaryDirectory(prefix="sqlrs-test-") as root:
        Path(root).chmod(0o755)
        yield Path(root)


@pytest.fixture(scope="module", params=MAJORS)
def installed(request, builds):
    try:
        return install(request.param, builds, print)
    except (Unavailable, ImageUnavailable) as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def source(installed, initialised, os_user, public_root):
    with clusters(initialised, os_user, public_root) as make:
        cluster = make(installed)
        cluster.start(port=None)
        real_dumps.make_database(cluster)
        yield cluster


@pytest.fixture(scope="module")
def store(builds, installed, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), f"postgres:{installed.version}", builds)
    store.patience = 300.0
    store.without_pool()
    yield store
    store.close()


@pytest.fixture(scope="module")
def by_hand(source, initialised, os_user, public_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("by-hand") / "custom"
    real_dumps.run(source, "pg_dump", "-Fc", "-f", str(path))
    with clusters(initialised, os_user, public_root) as make:
        cluster = make(source.distribution)
        cluster.start(port=None)
        return real_dumps.restored_by_hand(cluster, path)


@pytest.mark.parametrize("format", ["-Fc", "-Fd", "-Ft", "-Fp"])
def test_every_format_of_every_version(store, source, by_hand, tmp_path, format):
    path = tmp_path / f"dump{format}"
    real_dumps.run(source, "pg_dump", format, "-f", str(path))
    result = store.chain({"kind": "dump", "path": str(path)})
    assert real_dumps.dumped(result, source.distribution.bin_dir) == by_hand


@pytest.mark.parametrize("format", ["-Fc", "-Fd"])
@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_every_compression(store, source, by_hand, tmp_path, format, compression):
    if source.distribution.major < _COMPRESSES:
        pytest.skip("this pg_dump has gzip only")
    path = tmp_path / "dump"
    real_dumps.run(source, "pg_dump", format, "-Z", compression, "-f", str(path))
    result = store.chain({"kind": "dump", "path": str(path)})
    assert real_dumps.dumped(result, source.distribution.bin_dir) == by_hand


def test_the_newest_server_restores_the_dumps_of_older_ones(store, source, tmp_path):
    path = tmp_path / "dump"
    real_dumps.run(source, "pg_dump", "-Fc", "-f", str(path))
    result = store.chain({"kind": "dump", "path": str(path)}, image_id="postgres:18")
    assert query(result, "select count(*) from app.item") == 3001


def test_an_older_server_restores_with_the_program_of_a_newer_one(
    store, source, system_postgres, tmp_path
):
    if source.distribution.major <= system_postgres.major:
        pytest.skip("this is about newer versions than the system's")
    path = tmp_path / "dump"
    compression = ["-Z", "zstd"] if source.distribution.major >= _COMPRESSES else []
    real_dumps.run(source, "pg_dump", "-Fc", *compression, "-f", str(path))
    image = f"postgres:{system_postgres.version}"
    result = store.chain({"kind": "dump", "path": str(path)}, image_id=image)
    assert query(result, "select count(*) from app.item") == 3001


def test_without_a_program_that_decompresses_the_advice_is_to_install_one(
    store, source, tmp_path, tmp_path_factory
):
    if source.distribution.major < _COMPRESSES:
        pytest.skip("this pg_dump has gzip only")
    path = tmp_path / "dump"
    real_dumps.run(source, "pg_dump", "-Fc", "-Z", "zstd", "-f", str(path))
    bare = Store(tmp_path_factory.mktemp("bare"), "postgres:18")
    try:
        root = tmp_path_factory.mktemp("none")
        if any(
            each.origin == "system" and each.major >= 18 for each in Distributions(root).installed()
        ):
            pytest.skip("the system's PostgreSQL may decompress it")
        job = bare.wait(bare.submit_chain({"kind": "dump", "path": str(path)}))
        assert job.error["code"] == "dump_unusable"
        assert "sqlrs-engine postgres install 18" in job.error["message"]
    finally:
        bare.close()
