"""Extensions of the bundled PostgreSQL, and those that the engine adds to it."""

import importlib.util
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from support.fix_postgres import clusters

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.additions import ARCHIVE_PACKAGE
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.os_user import OsUser

Connection = psycopg.Connection[tuple[object, ...]]

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server(
    wheel_postgres: Distribution,
    initialised: Callable[[Distribution], Path],
    os_user: OsUser | None,
    public_root: Path,
) -> Iterator[Cluster]:
    with clusters(initialised, os_user, public_root) as make:
        cluster = make(wheel_postgres)
        cluster.start(port=None)
        yield cluster


@pytest.fixture
def connection(server: Cluster) -> Iterator[Connection]:
    """A session of the superuser; nothing that it does is kept."""
    with server.connect(None, autocommit=False) as connection:
        yield connection
        connection.rollback()


def value(connection: Connection, query: str, *arguments: object) -> object:
    row = connection.execute(query, arguments).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("name", ["citext", "hstore", "pg_trgm", "unaccent", "vector", "uuid-ossp"])
def test_the_bundled_version_has_what_most_schemas_need(
    connection: Connection, wheel_postgres: Distribution, name: str
) -> None:
    assert name in wheel_postgres.extensions
    connection.execute(f'CREATE EXTENSION "{name}"')


@pytest.mark.skipif(
    importlib.util.find_spec(ARCHIVE_PACKAGE) is None, reason="needs Python 3.12 or newer"
)
def test_the_bundled_version_has_pgcrypto(
    connection: Connection, wheel_postgres: Distribution
) -> None:
    assert "pgcrypto" in wheel_postgres.extensions
    connection.execute("CREATE EXTENSION pgcrypto")
    hashed = value(connection, "SELECT encode(digest('abc', 'sha1'), 'hex')")
    assert hashed == "a9993e364706816aba3e25717850c26c9cd0d89d"
    assert value(connection, "SELECT crypt('x', salt) = crypt('x', salt) FROM gen_salt('bf') salt")


@pytest.mark.parametrize(
    "name", ["", "www.example.org", "é€😀" * 7, "x" * 55, "x" * 64, "y" * 500], ids=len
)
def test_uuids_of_names_are_those_of_everyone(connection: Connection, name: str) -> None:
    connection.execute('CREATE SCHEMA other; CREATE EXTENSION "uuid-ossp" SCHEMA other')
    for version, reference in ((3, uuid.uuid3), (5, uuid.uuid5)):
        query = f"SELECT other.uuid_generate_v{version}(other.uuid_ns_url(), %s)"
        assert value(connection, query, name) == reference(uuid.NAMESPACE_URL, name)


def test_uuids_of_the_time_and_of_chance_are_unique(connection: Connection) -> None:
    connection.execute('CREATE EXTENSION "uuid-ossp"')
    for function, version in (("v1", 1), ("v1mc", 1), ("v4", 4)):
        query = f"SELECT uuid_generate_{function}() FROM generate_series(1, 1000)"
        some = [uuid.UUID(str(row[0])) for row in connection.execute(query).fetchall()]
        assert len(set(some)) == len(some)
        assert {(each.version, each.variant) for each in some} == {(version, uuid.RFC_4122)}
    query = "SELECT uuid_generate_v1(), extract(epoch FROM clock_timestamp())"
    row = connection.execute(query).fetchone()
    assert row is not None
    made, now = uuid.UUID(str(row[0])), float(str(row[1]))
    assert made.node >> 40 & 1 == 1  # multicast: it is no network address
    assert abs(made.time / 1e7 - 12_219_292_800 - now) < 60


def test_namespaces_have_their_well_known_uuids(connection: Connection) -> None:
    connection.execute('CREATE EXTENSION "uuid-ossp"')
    query = "SELECT ARRAY[uuid_nil(), uuid_ns_dns(), uuid_ns_url(), uuid_ns_oid(), uuid_ns_x500()]"
    assert value(connection, query) == [
        uuid.UUID(int=0),
        uuid.NAMESPACE_DNS,
        uuid.NAMESPACE_URL,
        uuid.NAMESPACE_OID,
        uuid.NAMESPACE_X500,
    ]
