"""The version and the size of a live database, asked before it is dumped."""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import class_row

from sqlrs_engine.errors import DatabaseUnreachable, InvalidArgument

from .filters import Filters
from .patterns import parse
from .source import Source

_CONNECT_SECONDS = 15
_APPLICATION = "sqlrs-engine import"

# Of the relations that pg_dump would dump: the size of each with its indexes, and without.
_TABLES = """
    SELECT n.nspname AS schema, c.relname AS name,
           pg_total_relation_size(c.oid) AS size_bytes, pg_table_size(c.oid) AS data_bytes
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'm')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND CASE WHEN %(has_tables)s THEN {tables}
                ELSE (NOT %(has_schemas)s OR n.nspname ~ ANY (%(schemas)s::text[]))
                     AND NOT n.nspname ~ ANY (%(exclude_schemas)s::text[]) END
       AND NOT {exclude_tables} AND NOT {exclude_table_data}
     ORDER BY 3 DESC
"""
_MATCHES = """EXISTS (
    SELECT FROM unnest(%({0}_schemas)s::text[], %({0})s::text[]) AS pattern (schema, name)
     WHERE c.relname ~ pattern.name
       AND CASE WHEN pattern.schema IS NULL THEN pg_table_is_visible(c.oid)
                ELSE n.nspname ~ pattern.schema END)"""
_PATTERNS = ("tables", "exclude_tables", "exclude_table_data")


@dataclass(frozen=True, slots=True)
class Table:
    """A table and its size, with its indexes and without."""

    schema: str
    name: str
    size_bytes: int
    data_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A database on its server: ``size_bytes`` is all of it, ``tables`` are those wanted.

    ``tables`` are the largest first. ``is_encrypted`` is whether the connection was.
    """

    name: str
    host: str
    major: int
    version: str
    size_bytes: int
    is_encrypted: bool
    tables: Sequence[Table]

    @property
    def data_bytes(self) -> int:
        """The size of the wanted tables without their indexes."""
        return sum(table.data_bytes for table in self.tables)


class PasswordMissing(DatabaseUnreachable):
    """The server asks for a password, and there is none."""


def inspect(source: Source, filters: Filters) -> Database:
    """Connect to a database and ask for its version and size.

    Raises PasswordMissing, DatabaseUnreachable, and InvalidArgument for invalid patterns.
    """
    parameters = {
        "connect_timeout": str(_CONNECT_SECONDS),
        "application_name": _APPLICATION,
        **source.parameters(),
    }
    try:
        with psycopg.connect(autocommit=True, **parameters) as connection:  # type: ignore[arg-type]
            return _inspect(connection, filters)
    except psycopg.errors.InvalidRegularExpression as error:
        raise InvalidArgument("invalid pattern", str(error.diag.message_primary)) from error
    except psycopg.Error as error:
        raise _unreachable(error, source) from None


def _inspect(connection: "psycopg.Connection[tuple[object, ...]]", filters: Filters) -> Database:
    info = connection.info
    parameters: dict[str, object] = {
        "has_tables": bool(filters.tables),
        "has_schemas": bool(filters.schemas),
        "schemas": [parse(text).name for text in filters.schemas],
        "exclude_schemas": [parse(text).name for text in filters.exclude_schemas],
    }
    for name in _PATTERNS:
        patterns = [parse(text) for text in getattr(filters, name)]
        parameters[name] = [pattern.name for pattern in patterns]
        parameters[f"{name}_schemas"] = [pattern.schema for pattern in patterns]
    query = _TABLES.format(**{name: _MATCHES.format(name) for name in _PATTERNS})
    tables = connection.cursor(row_factory=class_row(Table)).execute(query, parameters).fetchall()
    size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    number = info.server_version
    return Database(
        name=info.dbname,
        host=info.host or "this machine",
        major=number // 10000,
        version=(info.parameter_status("server_version") or "").partition(" ")[0],
        size_bytes=int(str(size[0])) if size else 0,
        is_encrypted=bool(connection.pgconn.ssl_in_use),
        tables=tables,
    )


def _unreachable(error: psycopg.Error, source: Source) -> DatabaseUnreachable:
    reason = source.redacted(" ".join(str(error).split()))
    if isinstance(error, psycopg.OperationalError) and error.pgconn is not None:
        if error.pgconn.needs_password:
            return PasswordMissing(
                "the server asks for a password: set PGPASSWORD, or add a line to ~/.pgpass", reason
            )
        if error.pgconn.used_password:
            return DatabaseUnreachable(
                "cannot log in to the database: check the user and the password (in the URL, "
                "PGPASSWORD or ~/.pgpass)",
                reason,
            )
    return DatabaseUnreachable(
        "cannot connect to the database: check the host, the port, the name and whether this "
        "machine may connect to it",
        reason,
    )
