"""Liquibase for tests: the one of the development environment, by itself and in the engine."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sqlrs_engine.errors import LiquibaseUnavailable
from sqlrs_engine.prepare.liquibase import installation
from sqlrs_engine.prepare.liquibase.program import program_environment


def found() -> installation.Installation:
    """Return the Liquibase to test with; skip the test without one."""
    try:
        return installation.find(None, None, program_environment({}, {}))
    except LiquibaseUnavailable as error:
        pytest.skip(f"{error.message}: {error.details}")


def update(dsn: str, directory: Path, *args: str) -> None:
    """Run plain ``liquibase`` on a database."""
    liquibase = found()
    user, _, rest = dsn.removeprefix("postgres://").partition(":")
    password, _, place = rest.partition("@")
    subprocess.run(
        [*liquibase.plain(), f"--url=jdbc:postgresql://{place}", f"--username={user}", *args],
        cwd=directory,
        env=program_environment({"LIQUIBASE_COMMAND_PASSWORD": password}, liquibase.environment),
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )


def dump(dsn: str, bin_dir: Path) -> str:
    """Return all of a database as text, but for what differs between any two runs."""
    program = bin_dir / "pg_dump"
    path = program if program.is_file() else shutil.which("pg_dump")
    if path is None:
        pytest.skip("there is no pg_dump")
    done = subprocess.run(
        [path, "--inserts", "--column-inserts", "--restrict-key=x", dsn]
        if _restricts(Path(path))
        else [path, "--inserts", "--column-inserts", dsn],
        check=True,
        capture_output=True,
        text=True,
    )
    return "\n".join(
        line for line in done.stdout.splitlines() if "INTO public.databasechangelog " not in line
    )


def _restricts(program: Path) -> bool:
    """Return whether pg_dump puts a random key into what it writes (since August 2025)."""
    told = subprocess.run([program, "--help"], check=True, capture_output=True, text=True)
    return "--restrict-key" in told.stdout


CHANGELOG_TABLE = """
    select id, author, filename, orderexecuted, exectype, md5sum, description, comments, tag,
           liquibase, contexts, labels
    from databasechangelog order by orderexecuted
"""
