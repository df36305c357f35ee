"""The environment variables that lead programs to an instance."""

from urllib.parse import unquote, urlsplit


def variables(dsn: str) -> dict[str, str]:
    """Return the variables of libpq (PostgreSQL docs, 34.15) and ``DATABASE_URL``."""
    server = urlsplit(dsn)
    return {
        "DATABASE_URL": dsn,
        "PGHOST": server.hostname or "",
        "PGPORT": str(server.port or ""),
        "PGUSER": unquote(server.username or ""),
        "PGPASSWORD": unquote(server.password or ""),
        "PGDATABASE": unquote(server.path.removeprefix("/")),
        # libpq 16 and later then never send the password to a program that has taken the port.
        "PGREQUIREAUTH": "scram-sha-256",
    }
