"""Who uses a cluster: asked of PostgreSQL itself, over the unix socket, when needed.

Nothing is watched between two readings. ``pg_stat_database.sessions`` counts every
session since the statistics were last reset, so two readings tell whether anyone was
there in between.
"""

import logging
from dataclasses import dataclass
from typing import Any

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.superuser import APPLICATION_NAME, SESSIONS_EVER

__all__ = ["IDLE", "Conntrack", "Reading"]

_log = logging.getLogger(__name__)

_DATABASES = ("postgres", "template1")  # a user may drop the first
# libpq reports a refused connection by its text alone, without an SQLSTATE.
_ADMITS_NOBODY = ("too many clients", "too many connections", "slots are reserved")
_NO_DATABASE = "does not exist"
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
    """One look at a cluster.

    ``connections`` are the client sessions open now, without the engine's own.
    ``sessions`` counts all there ever were, **the reading's own included**; None when the
    cluster could not say.
    """

    connections: int
    sessions: int | None = None

    def shows_use_since(self, sessions: int) -> bool:
        """Return whether anyone used the cluster since the reading that saw ``sessions``.

        Between two readings the engine opens one session, the later reading itself. A
        counter that went back (a reset, a dropped database) counts as use.
        """
        if self.connections:
            return True
        return self.sessions is not None and self.sessions - sessions != 1


IDLE = Reading(connections=0)
"""What a cluster that is not running shows."""

_FULL = Reading(connections=1)


class Conntrack:
    """Reads connections and session counters."""

    def read(self, cluster: Cluster, port: int) -> Reading:
        """Ask a running cluster.

        One that admits nobody any more counts as having a connection; one that cannot be
        asked at all (it is starting, or its user broke it) as idle.
        """
        import psycopg  # not at the top: it would slow the engine's start

        reason: Exception | None = None
        for dbname in _DATABASES:
            try:
                return _ask(cluster, port, dbname)
            except (psycopg.Error, ClusterFailed) as error:
                reason = error
            if any(words in str(reason) for words in _ADMITS_NOBODY):
                return _FULL
            if _NO_DATABASE not in str(reason):
                break
        _log.warning("cannot read the connections on port %d: %s", port, reason)
        return IDLE


def _ask(cluster: Cluster, port: int, dbname: str) -> Reading:
    with cluster.connect(port, dbname=dbname) as connection:
        connection.execute(_STATEMENT_TIMEOUT)
        row: tuple[Any, ...] | None = connection.execute(_QUERY, (APPLICATION_NAME,)).fetchone()
    if row is None:
        raise ClusterFailed("PostgreSQL answered without a row")
    return Reading(connections=row[0], sessions=row[1])
