"""Chains of many cheap steps, prepared first and after an edit; beside psql and Liquibase."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import LiquibaseUnavailable
from sqlrs_engine.prepare.liquibase.installation import find
from sqlrs_engine.prepare.liquibase.program import program_environment

from .changelogs import prepare, request_of, update_plainly, write_changelog
from .daemon import Daemon, scratch
from .inputs import Input
from .measure import Timing
from .session import Session

SCRIPTS = 46
CHANGESETS = 1400
FIRST_TO_PLAIN = 1.5
APPENDED_TO_PLAIN = 1.0
MOST_STATES = 60


def measure(session: Session) -> Iterator[Timing]:
    """Measure on every store, with the image initialised before, as the rivals have it."""
    for where, parent in session.stores.items():
        yield from _scripts(session, where, parent)
        try:
            find(None, None, program_environment({}, {}))
        except LiquibaseUnavailable as error:
            print(f"note: no changelogs measured: {error}")
        else:
            yield from _changelog(session, where, parent)


def _scripts(session: Session, where: str, parent: Path) -> Iterator[Timing]:
    name = f"{SCRIPTS} scripts"
    plain = Timing("psql, one process per script", where, database=name, task="run", is_rival=True)
    first = Timing("first prepare", where, database=name, task="run")
    edited = Timing("the script in the middle edited", where, database=name)
    for number in range(session.cold_runs):
        with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
            scripts = [directory / f"{at:03}.sql" for at in range(SCRIPTS)]
            for at, script in enumerate(scripts):
                script.write_text(_script(at, number))
            empty = engine.prepare(Input("", ()).request(session.image))["result"]
            arguments = [word for script in scripts for word in ("-f", str(script))]
            request: dict[str, Any] = {
                "prepare_kind": "psql",
                "image_id": session.image,
                "psql_args": arguments,
            }
            prepare(engine, request, first)
            scripts[SCRIPTS // 2].write_text(_script(SCRIPTS // 2, -1))
            prepare(engine, request, edited)
            with plain.sample():
                for script in scripts:
                    _psql(empty["dsn"], script)
    yield from (plain, first, edited)
    yield _ratio("first prepare, to psql", first, plain, FIRST_TO_PLAIN)


def _changelog(session: Session, where: str, parent: Path) -> Iterator[Timing]:
    name = f"{CHANGESETS} changesets"
    plain = Timing("liquibase update", where, database=name, task="update", is_rival=True)
    first = Timing("first prepare", where, database=name, task="update")
    appended = Timing("a changeset appended", where, database=name, task="update")
    states = Timing("states on the disk", where, MOST_STATES, unit="states", database=name)
    for number in range(session.cold_runs):
        with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
            changelog = directory / "changelog.sql"
            request = request_of(session.image, directory)
            empty = engine.prepare(Input("", ()).request(session.image))["result"]
            write_changelog(changelog, CHANGESETS, str(number))
            prepare(engine, request, first)
            states.samples.append(float(len([*directory.glob("store/engines/*/*/states/*")])))
            write_changelog(changelog, CHANGESETS + 1, str(number))
            prepare(engine, request, appended)
            write_changelog(changelog, CHANGESETS, "plain")
            with plain.sample():
                update_plainly(empty["dsn"], directory)
    yield from (plain, first, appended, states)
    yield _ratio("first prepare, to liquibase update", first, plain, FIRST_TO_PLAIN)
    yield _ratio("a changeset appended, to liquibase update", appended, plain, APPENDED_TO_PLAIN)


def _script(number: int, of: int) -> str:
    return (
        f"create table t{number} (id serial primary key, a text default '{of}', b int);\n"
        f"insert into t{number} (b) select g from generate_series(1, 200) g;\n"
        f"create index on t{number} (b);\n"
    )


def _psql(dsn: str, script: Path) -> None:
    subprocess.run(
        ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(script), dsn],
        check=True,
        capture_output=True,
    )


def _ratio(work: str, ours: Timing, plain: Timing, target: float) -> Timing:
    samples = [ours.p50 / plain.p50]
    return Timing(work, ours.where, target, unit="times", database=ours.database, samples=samples)
