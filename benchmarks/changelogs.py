"""Liquibase: twelve changesets first, appended to, cached; beside ``liquibase update``."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlrs_engine.errors import LiquibaseUnavailable
from sqlrs_engine.prepare.liquibase.installation import find
from sqlrs_engine.prepare.liquibase.program import program_environment

from .daemon import Daemon, scratch
from .inputs import Input
from .measure import Timing
from .prepares import select_one
from .session import Session

CHANGESETS = 12
FIRST_MS, TO_PLAIN = 8000.0, 1.5
APPENDED_TO_PLAIN = 1.2
CACHED_MS = 100.0
NAME = f"{CHANGESETS} changesets"


def measure(session: Session) -> Iterator[Timing]:
    """Measure on every store, with the image initialised before, as plain Liquibase has it."""
    try:
        find(None, None, program_environment({}, {}))
    except LiquibaseUnavailable as error:
        print(f"note: no changelogs measured: {error}")
        return
    for where, parent in session.stores.items():
        plain = Timing("liquibase update", where, database=NAME, task="update", is_rival=True)
        cold = Timing("first prepare, new JVM", where, FIRST_MS, database=NAME, task="update")
        warm = Timing("first prepare, kept JVM", where, database=NAME, task="update")
        appended = Timing("a changeset appended", where, database=NAME, task="update")
        cached = Timing("cached prepare of a changelog → SELECT 1", where, CACHED_MS, database=NAME)
        for number in range(session.cold_runs):
            with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
                changelog = directory / "changelog.sql"
                request = request_of(session.image, directory)
                empty = engine.prepare(Input("", ()).request(session.image))["result"]
                for timing in (cold, warm):
                    write_changelog(changelog, CHANGESETS, f"{number} {timing.work}")
                    prepare(engine, request, timing)
                for _ in range(session.runs // session.cold_runs):
                    prepare(engine, request, cached)
                write_changelog(changelog, CHANGESETS + 1, f"{number} {warm.work}")
                prepare(engine, request, appended)
                write_changelog(changelog, CHANGESETS, "plain")
                with plain.sample():
                    update_plainly(empty["dsn"], directory)
        yield from (plain, cold, warm, appended, cached)
        yield _ratio("first prepare, new JVM, to liquibase update", cold, plain, TO_PLAIN)
        yield _ratio(
            "a changeset appended, to liquibase update", appended, plain, APPENDED_TO_PLAIN
        )


def request_of(image: str, directory: Path) -> dict[str, Any]:
    """Return the request for the changelog in a directory."""
    return {
        "prepare_kind": "lb",
        "image_id": image,
        "liquibase_args": ["update", "--changelog-file", "changelog.sql"],
        "work_dir": str(directory),
    }


def write_changelog(changelog: Path, count: int, comment: str) -> None:
    """Write a changelog of its own kind: no changeset is that of another ``comment``."""
    lines = ["--liquibase formatted sql"]
    for number in range(count):
        lines += [
            f"--changeset bench:{number}",
            f"create table t{number} (id int primary key, a text default '{comment}', b int);",
            f"insert into t{number} select g, 'x', g from generate_series(1, 100) g;",
        ]
    changelog.write_text("\n".join(lines) + "\n")


def prepare(engine: Daemon, request: dict[str, Any], timing: Timing) -> None:
    """Time a prepare to its first row, and delete the instance."""
    with timing.sample():
        result = engine.prepare(request)["result"]
        select_one(result["dsn"])
    engine.delete(f"/v1/instances/{result['instance_id']}")


def update_plainly(dsn: str, directory: Path) -> None:
    """Run Liquibase's own launcher, as people do, on a database that is there already."""
    given = program_environment({}, {})
    found = find(None, None, given)
    place = urlsplit(dsn)
    subprocess.run(
        [
            *("bash", str(found.home / "liquibase")),
            f"--url=jdbc:postgresql://{place.hostname}:{place.port}{place.path}",
            f"--username={place.username}",
            *("update", "--changelog-file", "changelog.sql"),
        ],
        cwd=directory,
        env=given | {"LIQUIBASE_COMMAND_PASSWORD": place.password or ""},
        check=True,
        capture_output=True,
    )


def _ratio(work: str, ours: Timing, plain: Timing, target: float) -> Timing:
    samples = [ours.p50 / plain.p50]
    return Timing(work, ours.where, target, unit="times", database=NAME, samples=samples)
