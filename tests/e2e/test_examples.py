"""The examples work as their documents say, on an engine started as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

pytestmark = [pytest.mark.postgres]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = ("schema.sql", "reference.sql", "trips.sql", "views.sql")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a user with an engine running; everything is gone afterwards."""
    state_home = tmp_path_factory.mktemp("state-home")
    without = {key: value for key, value in os.environ.items() if key != "SQLRS_STATE_STORE"}
    environment = without | {"XDG_STATE_HOME": str(state_home)}
    command = [sys.executable, "-m", "sqlrs_engine", "serve"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout.readline().startswith("endpoint: ")
            yield environment
            left = json.loads(engine(environment, "ls", "instances", "--json"))
            if left:
                engine(environment, "rm", "--force", *(row["instance_id"] for row in left))
        finally:
            process.terminate()


def engine(environment, *arguments, cwd=EXAMPLES):
    """Run the command line and return its standard output."""
    return subprocess.run(
        [sys.executable, "-m", "sqlrs_engine", *arguments],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    ).stdout


def prepare_bikeshare(environment, *variables):
    files = [word for script in SCRIPTS for word in ("-f", script)]
    printed = engine(
        environment, "prepare", "--json", "--", *variables, *files, cwd=EXAMPLES / "bikeshare"
    )
    return json.loads(printed)


def test_the_project_file_is_the_one_in_the_readme(environment):
    directory = EXAMPLES / "bikeshare"
    text = (directory / "sqlrs.toml").read_text()
    assert f"```toml\n{text}```" in (EXAMPLES.parent / "README.md").read_text()
    assert "is valid" in engine(environment, "check", cwd=directory)
    demo = json.loads(engine(environment, "up", "demo", "--json", cwd=directory))
    assert count_trips(demo["dsn"]) > 0
    assert demo["name"] == "bikeshare-demo"


def count_trips(dsn):
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT count(*) FROM trip").fetchone()[0]


def test_the_same_scripts_give_the_same_state_in_another_instance(environment):
    one, two = prepare_bikeshare(environment), prepare_bikeshare(environment)
    assert one["state_id"] == two["state_id"]
    assert one["instance_id"] != two["instance_id"]
    with psycopg.connect(one["dsn"], autocommit=True) as connection:
        connection.execute("TRUNCATE trip")
    assert (count_trips(one["dsn"]), count_trips(two["dsn"])) == (0, 4000)


def test_a_variable_gives_another_database(environment):
    assert count_trips(prepare_bikeshare(environment, "-v", "trips=1000")["dsn"]) == 1000


def test_generated_data_is_the_same_each_time(environment):
    fares = []
    for comment in ("-- one", "-- two"):  # a step of its own before them: nothing is cached
        printed = engine(
            environment,
            *("prepare", "--json", "--", "-c", comment),
            *(word for script in SCRIPTS for word in ("-f", script)),
            cwd=EXAMPLES / "bikeshare",
        )
        with psycopg.connect(json.loads(printed)["dsn"]) as connection:
            fares.append(connection.execute("SELECT sum(fare), max(ended_at) FROM trip").fetchone())
    assert fares[0] == fares[1]


def test_the_pytest_example_passes(environment):
    # The options of this run, such as a coverage limit, are not those of the example.
    own = {name: value for name, value in environment.items() if name != "PYTEST_ADDOPTS"}
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(EXAMPLES / "pytest"), str(EXAMPLES / "pytest")],
        env=own,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
