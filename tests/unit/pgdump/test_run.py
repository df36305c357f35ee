"""pgdump.run: pg_dump as a process, in whose place a script stands."""

import os
from pathlib import Path

import pytest
from support.waiting import eventually

from sqlrs_engine.errors import DumpFailed
from sqlrs_engine.pgdump.filters import Filters
from sqlrs_engine.pgdump.run import DumpRun
from sqlrs_engine.pgdump.source import Source

URL = "postgres://me:s3cret@db/app?keepalives=0"


def run(directory: Path, script: str, *, tls: bool = False, url: str = URL) -> DumpRun:
    program = directory / "pg_dump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    source = Source.parse(url, {"PATH": os.environ["PATH"], "LANG": "de_DE.UTF-8"})
    return DumpRun(program, source, Filters(schema_only=True), tls=tls)


def test_the_output_is_passed_on_and_the_arguments_have_no_password(tmp_path: Path) -> None:
    script = 'echo "$@"; env; echo "pg_dump: dumping contents of table \\"app.t\\"" >&2'
    with run(tmp_path, script) as dumping:
        output = b"".join(dumping.chunks()).decode()
        assert dumping.table == "app.t"
    arguments, *environ = output.splitlines()
    assert arguments == (
        "--format=custom --compress=1 --no-subscriptions --no-password --verbose --schema-only "
        "--dbname=keepalives=0"
    )
    for variable in ("PGPASSWORD=s3cret", "PGHOST=db", "PGDATABASE=app", "LC_ALL=C"):
        assert variable in environ


@pytest.mark.parametrize(
    ("tls", "mode", "becomes"),
    [
        (True, "", "require"),
        (True, "&sslmode=prefer", "require"),
        (True, "&sslmode=verify-full", "verify-full"),
        (False, "&sslmode=prefer", "prefer"),
    ],
)
def test_a_connection_that_was_encrypted_stays_so(
    tmp_path: Path, tls: bool, mode: str, becomes: str
) -> None:
    with run(tmp_path, "echo $PGSSLMODE", tls=tls, url=URL + mode) as dumping:
        assert b"".join(dumping.chunks()) == f"{becomes}\n".encode()


def test_a_failure_comes_after_the_output(tmp_path: Path) -> None:
    script = "echo part; echo 'pg_dump: error: no matching tables were found' >&2; exit 1"
    with run(tmp_path, script) as dumping:
        chunks = dumping.chunks()
        assert next(chunks) == b"part\n"
        with pytest.raises(DumpFailed, match="a pattern matches nothing"):
            next(chunks)


@pytest.mark.parametrize("prelude", ["", "trap '' TERM;"])
def test_leaving_ends_it(tmp_path: Path, prelude: str) -> None:
    script = f"{prelude} echo $$; sleep 100 & wait; sleep 100"
    with run(tmp_path, script) as dumping:
        pid = int(next(dumping.chunks()))
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end")
