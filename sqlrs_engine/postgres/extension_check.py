"""A check that extensions can be created, on a cluster that is thrown away."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from sqlrs_engine.errors import EngineError

from .access import PUBLIC_ROOT, make_public
from .cluster import Cluster
from .distributions.distribution import Distribution
from .os_user import OsUser

if TYPE_CHECKING:
    from .superuser import Connection

_LIMIT = "SET statement_timeout = '60s'"


def failing_extensions(
    distribution: Distribution,
    names: Collection[str],
    os_user: OsUser | None,
    public_root: Path = PUBLIC_ROOT,
) -> dict[str, str]:
    """Return the extensions that cannot be created, with PostgreSQL's error.

    Raises ClusterFailed when the programs cannot make or start a cluster.
    """
    if os_user is not None:
        make_public(public_root)
    with tempfile.TemporaryDirectory(
        prefix=".check-", dir=None if os_user is None else public_root
    ) as workspace:
        place = Path(workspace)
        place.chmod(0o755)
        cluster = Cluster(
            distribution,
            place / "data",
            os_user=os_user,
            log_file=place / "postgres.log",
            public_root=place / "programs",  # a copy of its own: the files may change yet
        )
        cluster.initdb(lambda line: None)
        cluster.start(port=None)
        try:
            errors = {name: _error(cluster, name) for name in names}
        finally:
            cluster.stop("immediate")
    return {name: error for name, error in errors.items() if error is not None}


def _error(cluster: Cluster, name: str) -> str | None:
    """Create an extension in a session of its own, and roll it back."""
    import psycopg

    try:
        with cluster.connect(None, autocommit=False) as connection:
            _create(connection, name)
            connection.rollback()
    except psycopg.Error as error:
        return str(error).partition("\n")[0].strip() or type(error).__name__
    except EngineError as error:  # the server is restarting after a crash
        return str(error)
    return None


def _create(connection: "Connection", name: str) -> None:
    from psycopg import sql

    connection.execute(_LIMIT)
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} CASCADE")
    connection.execute(statement.format(sql.Identifier(name)))
