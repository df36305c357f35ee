"""The engine's own sessions, those of the superuser: its password and its login.

psycopg is imported when a session is opened: it would slow the engine's start.
"""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ServerUnusable
from .launcher import socket_fits
from .scram import scram_verifier
from .settings import SUPERUSER

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[object, ...]]

APPLICATION_NAME = "sqlrs-engine"
"""The ``application_name`` of the engine's own sessions."""

SESSIONS_EVER = "SELECT coalesce(sum(sessions), 0)::bigint FROM pg_catalog.pg_stat_database"

_DATABASES = ("postgres", "template1")  # a user may drop the first
_NO_DATABASE = "does not exist"  # libpq reports a refusal only by a text, without an SQLSTATE

# Waits for the end of each.
_END_SESSIONS = """
    SELECT pg_catalog.pg_terminate_backend(pid, %s) FROM pg_catalog.pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name <> %s
"""
_SESSION_END_MS = 10_000

# What ALTER ROLE does, without the 3 ms in which it makes sure that the verifier is not one
# of an empty password.
_ALTER_ROLE = "UPDATE pg_catalog.pg_authid SET rolpassword = %s WHERE rolname = %s"
_USABLE = """
    SELECT rolsuper AND coalesce(rolvaliduntil > now(), true)
    FROM pg_catalog.pg_authid WHERE rolname = %s
"""


def connect(data_dir: Path, port: int, dbname: str, *, autocommit: bool = True) -> "Connection":
    """Return a connection over the unix socket in ``data_dir``.

    Raises ServerUnusable when the server refuses it or is not there.
    """
    with refusals("cannot connect to PostgreSQL"):
        if socket_fits(data_dir):
            return _connect(str(data_dir), port, dbname, autocommit=autocommit)
        descriptor = os.open(data_dir, os.O_PATH | os.O_DIRECTORY)
        try:
            host = f"/proc/self/fd/{descriptor}"
            connection = _connect(host, port, dbname, autocommit=autocommit)
        except BaseException:
            os.close(descriptor)
            raise
        # To cancel a query, the connection comes back to this path.
        weakref.finalize(connection, os.close, descriptor)
        return connection


def connect_to_any(data_dir: Path, port: int) -> "Connection":
    """Return a connection like ``connect``, to a database that exists."""
    first, second = _DATABASES
    try:
        return connect(data_dir, port, first)
    except ServerUnusable as error:
        if _NO_DATABASE not in str(error):
            raise
    return connect(data_dir, port, second)


def log_in(port: int, password: str) -> int:
    """Log in by TCP and password, as clients do; return what ``sessions_ever`` returns.

    Raises ServerUnusable when the server refuses.
    """
    with (
        refusals("cannot log in to PostgreSQL"),
        _connect("127.0.0.1", port, "postgres", password=password) as connection,
    ):
        return sessions_ever(connection)


def set_password(connection: "Connection", password: str | None) -> None:
    """Set the superuser's password; None means no login by TCP.

    The server sees a SCRAM verifier only.
    """
    verifier = None if password is None else scram_verifier(password)
    connection.execute(_ALTER_ROLE, (verifier, SUPERUSER))


def check(connection: "Connection") -> None:
    """Raise ServerUnusable unless the role is a superuser whose password is valid."""
    row = connection.execute(_USABLE, (SUPERUSER,)).fetchone()
    if row is None or not row[0]:
        raise ServerUnusable(
            "cannot log in to PostgreSQL",
            f"{SUPERUSER} is no longer a superuser, or its password has expired",
        )


def sessions_ever(connection: "Connection") -> int:
    """Return how many sessions the cluster ever had, this one included."""
    row = connection.execute(SESSIONS_EVER).fetchone()
    return int(str(row[0])) if row else 0


def end_sessions(connection: "Connection") -> None:
    """End all sessions of clients, open transactions included, but not the engine's own."""
    connection.execute(_END_SESSIONS, (_SESSION_END_MS, APPLICATION_NAME))


@contextmanager
def refusals(message: str) -> Iterator[None]:
    """Raise ServerUnusable with ``message`` and PostgreSQL's error in place of a psycopg.Error."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise ServerUnusable(message, str(error).strip()) from error


def _connect(
    host: str,
    port: int,
    dbname: str,
    *,
    autocommit: bool = True,
    password: str | None = None,
) -> "Connection":
    import psycopg

    return psycopg.connect(
        host=host,
        port=port,
        user=SUPERUSER,
        password=password,
        dbname=dbname,
        autocommit=autocommit,
        application_name=APPLICATION_NAME,
        connect_timeout=10,
        # Set here so that no PG… variable of the engine's environment sets it.
        hostaddr="",
        # These override what a script has set for the role or the database, and the settings of
        # clusters: the password must outlive a crash of the server right after it was set.
        options="-c default_transaction_read_only=off -c statement_timeout=0"
        " -c synchronous_commit=on",
        client_encoding="UTF8",
        # With a password it connects as clients do, which accept what the server asks for.
        sslmode="disable" if password is None else "prefer",
        gssencmode="disable",
        target_session_attrs="any",
    )
