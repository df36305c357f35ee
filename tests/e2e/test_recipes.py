"""The recipes for migration tools work as docs/recipes.md says, with the tools themselves."""

import json
import os
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from support.fix_engine import EngineProcess, engines
from support.recipes import EXAMPLES, RECIPES, Recipe, documented
from support.shell import Shell

from sqlrs_engine.postgres.distributions.distribution import Distribution

pytestmark = pytest.mark.postgres

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+\d\d)?")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The commands, in a home of their own."""
    return Shell(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def engine(shell: Shell) -> Iterator[EngineProcess]:
    """The engine of that home, which the tests share; the tools are not on its PATH."""
    with engines() as make:
        yield make("--idle-timeout", "0", state_dir=shell.state_dir).start()


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each recipe."""
    chosen: Recipe = request.param
    return chosen


@pytest.fixture
def project(recipe: Recipe, shell: Shell, engine: EngineProcess, tmp_path: Path) -> Shell:
    """The commands as they are typed in a copy of the recipe's example, with its tool."""
    copy = recipe.copy(tmp_path)
    search = [*map(str, recipe.install(copy)), os.environ["PATH"]]
    return shell.at(copy, PATH=os.pathsep.join(search))


def prepare(project: Shell, command: list[str]) -> dict[str, str]:
    """Run a ``prepare`` of the document and return its result."""
    result: dict[str, str] = json.loads(project.out(command[0], "--json", *command[1:]))
    return result


def cached(plan: str) -> list[str]:
    """Return of each step of a plan, as it is shown, whether its state is cached."""
    _, *steps = plan.splitlines()
    return [line.split()[2] for line in steps]


def migrate_by_hand(project: Shell, command: list[str], dsn: str) -> None:
    """Run the tool that a ``prepare`` runs, on the database of a DSN."""
    place = urllib.parse.urlsplit(dsn)
    connection = {
        "DATABASE_URL": place._replace(scheme="postgresql").geturl(),
        "PGHOST": str(place.hostname),
        "PGPORT": str(place.port),
        "PGUSER": str(place.username),
        "PGPASSWORD": str(place.password),
        "PGDATABASE": place.path.removeprefix("/"),
        "PGSSLMODE": "disable",
    }
    options, argv = command[: command.index("--")], command[command.index("--") + 1 :]
    declared = [value for flag, value in pairwise(options) if flag == "--env"]
    variables = dict(value.format(**connection).split("=", 1) for value in declared)
    environ = {"LANG": "C.UTF-8", "HOME": str(project.home), **project.environ}
    done = subprocess.run(
        argv,
        cwd=project.directory,
        env={**environ, **connection, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def contents(dsn: str, postgres: Distribution) -> str:
    """Return all of a database as text, but for the moments at which things were done."""
    command = [postgres.bin_dir / "pg_dump", "--restrict-key=x", dsn]
    dump = subprocess.run(command, check=True, capture_output=True, text=True)
    return MOMENT.sub("(moment)", dump.stdout)


def test_a_tool_makes_the_database_that_it_makes_by_hand_and_makes_it_once(
    recipe: Recipe, project: Shell, engine: EngineProcess, wheel_postgres: Distribution
) -> None:
    command = recipe.command()
    first = prepare(project, command)
    by_hand = engine.prepare("-c", "select 1")["dsn"]
    migrate_by_hand(project, command, by_hand)
    assert contents(first["dsn"], wheel_postgres) == contents(by_hand, wheel_postgres)

    again = project.run("up", "shop", "--json")
    assert "execute-0: running" not in again.stderr
    second = json.loads(again.stdout)
    assert second["state_id"] == first["state_id"]
    assert second["instance_id"] != first["instance_id"]

    migration = recipe.add_migration(project.directory)
    assert migration in project.out("explain", "shop")
    third = prepare(project, command)
    assert "pages" not in contents(first["dsn"], wheel_postgres)
    assert "pages" in contents(third["dsn"], wheel_postgres)


def test_a_tool_opens_no_file_that_is_not_declared(recipe: Recipe, project: Shell) -> None:
    command = recipe.command()
    title, *files = project.out(command[0], "--trace-inputs", *command[1:]).splitlines()
    assert title.split() == ["FILE", "DECLARED"]
    assert files
    assert [file for file in files if file.split()[-1] != "yes"] == []


def test_a_broken_migration_fails_with_what_the_tool_says_and_is_not_cached(
    recipe: Recipe, project: Shell
) -> None:
    command = recipe.command()
    recipe.add_migration(project.directory)
    recipe.break_migration(project.directory)
    failed = project.run(*command)
    assert failed.returncode == 1
    assert recipe.broken in failed.stderr
    assert cached(project.out(command[0], "--plan", *command[1:])) == ["no"]


def test_the_document_shows_the_examples_as_they_are(recipe: Recipe) -> None:
    assert recipe.documented("toml") == (EXAMPLES / recipe.name / "sqlrs.toml").read_text()


def test_after_an_old_revision_only_later_migrations_run(
    shell: Shell, engine: EngineProcess, tmp_path: Path, wheel_postgres: Distribution
) -> None:
    (alembic,) = (recipe for recipe in RECIPES if recipe.name == "alembic")
    copy = alembic.copy(tmp_path)
    (programs,) = alembic.install(copy)
    project = shell.at(copy, PATH=os.pathsep.join([str(programs), os.environ["PATH"]]))
    (copy / "sqlrs.toml").write_text(documented("Long histories", "toml"))
    with (copy / "models.py").open("a") as models:
        models.write("# The tests share a store: this project has states of its own.\n")
    first = project.out("up", "shop").strip()
    alembic.add_migration(copy)
    assert cached(project.out("plan", "shop")) == ["yes", "no"]
    second = project.out("up", "shop").strip()
    one_stage = prepare(project, alembic.command())
    assert contents(second, wheel_postgres) == contents(one_stage["dsn"], wheel_postgres)
    assert contents(second, wheel_postgres) != contents(first, wheel_postgres)
