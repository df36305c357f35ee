"""The recipes for migration tools work as docs/recipes.md says, with the tools themselves."""

import json
import os
import re
import subprocess
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.recipes import EXAMPLES, RECIPES, Recipe
from support.shell import Shell

pytestmark = pytest.mark.postgres

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(\+\d\d)?")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The commands, with an engine that the tests here share."""
    shell = Shell(tmp_path_factory.mktemp("home"))
    yield shell
    shell.close()


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    """Each recipe."""
    chosen: Recipe = request.param
    return chosen


@pytest.fixture
def project(recipe: Recipe, shell: Shell, tmp_path: Path) -> Shell:
    """The commands as they are typed in a copy of the recipe's example, with its tool."""
    copy = recipe.copy(tmp_path)
    search = [*map(str, recipe.install(copy)), os.environ["PATH"]]
    return shell.at(copy, PATH=os.pathsep.join(search))


def prepare(project: Shell, command: list[str], *flags: str) -> dict[str, str]:
    """Run a ``prepare`` of the document."""
    result: dict[str, str] = json.loads(project.out(command[0], *flags, "--json", *command[1:]))
    return result


def cached(project: Shell, command: list[str]) -> list[str]:
    """Return of each step of a plan whether its state is cached, as it is shown."""
    _, *steps = project.out(command[0], "--plan", *command[1:]).splitlines()
    return [line.split()[-1] for line in steps]


def by_hand(project: Shell, command: list[str]) -> dict[str, str]:
    """Run the tool itself on an empty database."""
    empty = prepare(project, ["prepare", "--", "-c", "select 1"])
    place = urllib.parse.urlsplit(empty["dsn"])
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
    declared = [value for flag, value in zip(options, options[1:], strict=False) if flag == "--env"]
    variables = (value.format(**connection).split("=", 1) for value in declared)
    program = subprocess.run(
        argv,
        cwd=project.directory,
        env={**project.environ, "HOME": str(project.home), **connection, **dict(variables)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert program.returncode == 0, program.stdout + program.stderr
    return empty


def contents(project: Shell, database: dict[str, str]) -> str:
    """Return all of a database as text, but for the moments at which things were done."""
    dump = ["pg_dump", "--restrict-key=x"]
    return MOMENT.sub("(moment)", project.out("exec", database["instance_id"], "--", *dump))


def test_a_tool_makes_the_database_that_it_makes_by_hand_and_makes_it_once(
    recipe: Recipe, project: Shell
) -> None:
    command = recipe.command()
    assert cached(project, command) == ["no"]
    first = prepare(project, command)
    assert cached(project, command) == ["yes"]
    second = prepare(project, command)
    assert second["state_id"] == first["state_id"]
    assert second["instance_id"] != first["instance_id"]
    assert contents(project, second) == contents(project, by_hand(project, command))

    added = recipe.add_migration(project.directory)
    assert cached(project, command) == ["no"]
    assert added in project.out("explain", "shop")
    third = prepare(project, command)
    assert third["state_id"] != first["state_id"]
    assert contents(project, third) == contents(project, by_hand(project, command))


def test_the_project_file_means_the_same_as_the_command_line(
    recipe: Recipe, project: Shell
) -> None:
    prepared = prepare(project, recipe.command())
    assert json.loads(project.out("up", "shop", "--json"))["state_id"] == prepared["state_id"]


def test_a_broken_migration_fails_with_what_the_tool_says_and_is_not_cached(
    recipe: Recipe, project: Shell
) -> None:
    command = recipe.command()
    recipe.add_migration(project.directory)
    recipe.break_migration(project.directory)
    failed = project.run(*command)
    assert failed.returncode == 1
    assert recipe.broken in failed.stderr
    assert cached(project, command) == ["no"]


def test_the_document_shows_the_examples_as_they_are(recipe: Recipe) -> None:
    assert recipe.documented("toml") == (EXAMPLES / recipe.name / "sqlrs.toml").read_text()
