"""Real dumps: a database with a bit of everything, dumped by pg_dump, restored by hand."""

import gzip
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import psycopg
import pytest

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.images.decompression import decompressed

DATABASE = "shop"

ROLES = ("boss", "Read Only", "staff", "clerk", "future")

# psycopg runs it in the database that is to be dumped.
CONTENT = r"""
    CREATE SCHEMA app AUTHORIZATION boss;
    CREATE TYPE app.mood AS ENUM ('sad', 'ok');
    CREATE FUNCTION app.check_it(n integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
    begin
    if n < 0 then
    raise 'GRANT ALL ON app.item TO nobody;
GRANT ALL ON app.item TO nobody;';
    end if;
    return true;
    end $$;
    CREATE TABLE app.item (
        id serial PRIMARY KEY, name text NOT NULL, mood app.mood, CHECK (app.check_it(id))
    );
    ALTER TABLE app.item OWNER TO boss;
    INSERT INTO app.item (name, mood) SELECT 'item ' || i, 'ok' FROM generate_series(1, 3000) i;
    INSERT INTO app.item (name) VALUES (E'\\.\nGRANT ALL ON x TO nobody;\n\\.\t\u00e9');
    CREATE TABLE app.sale (item integer REFERENCES app.item, at date, note text DEFAULT '$$');
    INSERT INTO app.sale SELECT i, '2026-01-01', 'n' FROM generate_series(1, 100) i;
    CREATE INDEX ON app.item (name);
    CREATE VIEW app.cheap AS SELECT * FROM app.item;
    CREATE MATERIALIZED VIEW app.total AS SELECT count(*) FROM app.sale;
    COMMENT ON TABLE app.item IS 'what is sold';
    GRANT USAGE ON SCHEMA app TO "Read Only";
    GRANT SELECT ON app.item TO "Read Only" WITH GRANT OPTION;
    SET ROLE "Read Only"; GRANT SELECT ON app.item TO staff; RESET ROLE;
    ALTER TABLE app.item ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON app.item FOR SELECT TO clerk USING (id > 0);
    ALTER DEFAULT PRIVILEGES FOR ROLE future IN SCHEMA app GRANT SELECT ON TABLES TO staff;
    SELECT lo_from_bytea(4242, 'a large object');
    ALTER LARGE OBJECT 4242 OWNER TO boss;
"""

_OWN_LINES = re.compile(r"^(?:\\(?:un)?restrict .*|-- Dumped (?:from|by) .*)\n", re.MULTILINE)


def make_database(cluster: Cluster) -> None:
    """Make the database on a server that runs without a port."""
    with cluster.connect(None) as connection:
        for role in ROLES:
            connection.execute(f'CREATE ROLE "{role}"'.encode())
        connection.execute(f"CREATE DATABASE {DATABASE}".encode())
    with cluster.connect(None, DATABASE) as connection:
        connection.execute(CONTENT.encode())


def run(cluster: Cluster, program: str, *arguments: str, dbname: str = DATABASE) -> bytes:
    """Run a client program on a server without a port; return its output."""
    process = cluster.client(
        program,
        arguments,
        port=None,
        dbname=dbname,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return output


def restored_by_hand(cluster: Cluster, dump: Path, *arguments: str) -> str:
    """Restore a dump into the database ``postgres`` of an empty cluster; return its content."""
    with cluster.connect(None) as connection:
        for role in ROLES:
            connection.execute(f'CREATE ROLE "{role}" NOLOGIN'.encode())
    if "sql" in dump.name:
        script = dump.with_name("by-hand.sql")
        script.write_bytes(b"".join(plain(dump)))
        run(cluster, "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", str(script), dbname="postgres")
    else:
        run(cluster, "pg_restore", "-e", "-d", "postgres", *arguments, str(dump))
    return content(run(cluster, "pg_dump", dbname="postgres"))


def content(dump: bytes) -> str:
    """Return a plain dump without what differs from one dump to the next."""
    return _OWN_LINES.sub("", dump.decode())


def dumped(result: dict, bin_dir: Path, database: str = "postgres") -> str:
    """Return the content of a database of an instance."""
    dsn = result["dsn"].removesuffix("postgres") + database
    return content(
        subprocess.run([bin_dir / "pg_dump", dsn], check=True, capture_output=True).stdout
    )


def roles(result: dict) -> set[str]:
    """Return the roles of an instance that no cluster has at first and that cannot log in."""
    with psycopg.connect(result["dsn"]) as connection:
        rows = connection.execute(
            "SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND NOT rolname ~ '^pg_'"
        ).fetchall()
    return {name for (name,) in rows}


def plain(dump: Path) -> list[bytes]:
    """Return the pieces of a plain dump, decompressed by other means than the engine's for lz4."""
    raw = dump.read_bytes()
    return [lz4.frame.decompress(raw)] if dump.suffix == ".lz4" else [*decompressed(iter([raw]))]


def compressors() -> dict[str, Callable[[bytes], bytes]]:
    """Return the compressors of plain dumps, by the end of the file's name."""
    try:
        from backports.zstd import compress
    except ImportError:
        from compression.zstd import compress  # type: ignore[import-not-found, no-redef]
    return {"": bytes, ".gz": gzip.compress, ".zst": compress, ".lz4": lz4.frame.compress}


def need(program: Path) -> None:
    """Skip the test unless a program is there."""
    if not program.is_file():
        pytest.skip(f"there is no {program}")
