"""The database sessions of a run, which may outlive its processes.

A server notices late that a client was killed in the middle of a query, and a client does
not wait for its session to end. A run is over when both are gone: the next request may delete
the instance, which an open session forbids.
"""

import logging
import time
from typing import TYPE_CHECKING, Any

from sqlrs_engine.errors import ClusterFailed

if TYPE_CHECKING:
    import psycopg

    from sqlrs_engine.postgres.cluster import Cluster

GONE_SECONDS = 5.0
POLL_SECONDS = 0.005

_LEFT = """
SELECT count(*), count(CASE WHEN %s THEN pg_catalog.pg_terminate_backend(pid) END)
  FROM pg_catalog.pg_stat_activity
 WHERE application_name = %s AND pid <> pg_catalog.pg_backend_pid()
"""

_log = logging.getLogger(__name__)


def end_sessions(cluster: "Cluster", port: int, application: str, patience: float) -> None:
    """Wait until a run's sessions, known by their application name, are gone.

    Terminate those left after ``patience`` seconds. Leave a cluster that refuses connections alone:
    it is down, or it has no free connection, and then its server detects lost clients itself
    (``client_connection_check_interval``).
    """
    import psycopg  # not at the top: it would slow the engine's start

    try:
        with cluster.connect_to_any(port) as connection:
            is_over = _wait_until_gone(connection, application, patience)
    except (psycopg.Error, ClusterFailed, OSError) as error:
        _log.info("cannot look for the sessions of %s: %s", application, error)
    else:
        if not is_over:
            _log.warning("a session of %s does not end", application)


def _wait_until_gone(
    connection: "psycopg.Connection[Any]", application: str, patience: float
) -> bool:
    began = time.monotonic()
    while (waited := time.monotonic() - began) < patience + GONE_SECONDS:
        row = connection.execute(_LEFT, (waited >= patience, application)).fetchone()
        if row is None or row[0] == 0:
            return True
        time.sleep(POLL_SECONDS)
    return False
