"""Reads from PostgreSQL, over its unix socket, whether clients use a cluster.

Nothing watches a cluster between two readings. ``pg_stat_database.sessions`` counts all sessions
since the statistics were last reset, so two readings show whether clients connected in between.
"""

import logging
from dataclasses import dataclass
from typing import Any

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.superuser import APPLICATION_NAME, SESSIONS_EVER

__all__ = ["IDLE", "Conntrack", "Reading"]

_log = logging.getLogger(__name__)

# libpq reports a refused connection only by a text, without an SQLSTATE.
_NO_CONNECTION_LEFT = ("too many clients", "too many connections", "slots are reserved")
_STATEMENT_TIMEOUT = "SET statement_timeout = '5s'"
_QUERY = f"""
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity
         WHERE backend_type = 'client backend'
           AND pid <> pg_catalog.pg_backend_pid()
           AND application_name <> %s),
       ({SESSIONS_EVER})
"""  # noqa: S608  (put together of constants)


@dataclass(frozen=True, slots=True)
class Reading:
    """The use of a cluster at one moment.

    ``connections`` are the client sessions open now, without the engine's own.
    ``sessions`` counts all sessions so far, **including that of the reading**; None when the
    cluster could not be read.
    """

    connections: int
    sessions: int | None = None

    def shows_use_since(self, sessions: int) -> bool:
        """Return whether clients used the cluster since the reading of ``sessions``.

        Between two readings the engine opens one session, the later reading itself. A counter that
        has decreased (a reset, a dropped database) counts as use.
        """
        if self.connections:
            return True
        return self.sessions is not None and self.sessions - sessions != 1


IDLE = Reading(connections=0)
"""The reading of a cluster that does not run."""

_FULL = Reading(connections=1)


class Conntrack:
    """Reads connections and session counters."""

    def read(self, cluster: Cluster, port: int) -> Reading:
        """Read the connections and the session counter of a running cluster.

        A cluster without a free connection counts as having one client. A cluster that cannot
        be read (it is starting, or its user has broken it) counts as idle.
        """
        import psycopg  # not at the top: it would slow the engine's start

        try:
            return _read(cluster, port)
        except (psycopg.Error, ClusterFailed) as error:
            if any(words in str(error) for words in _NO_CONNECTION_LEFT):
                return _FULL
            _log.warning("cannot read the connections on port %d: %s", port, error)
            return IDLE


def _read(cluster: Cluster, port: int) -> Reading:
    with cluster.connect_to_any(port) as connection:
        connection.execute(_STATEMENT_TIMEOUT)
        row: tuple[Any, ...] | None = connection.execute(_QUERY, (APPLICATION_NAME,)).fetchone()
    if row is None:
        raise ClusterFailed("PostgreSQL answered without a row")
    return Reading(connections=row[0], sessions=row[1])
