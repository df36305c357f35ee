"""Every violation of the schema is a line that names the place and what to write instead."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrs_engine.project.shape import schema_text, shape_problems


def lines(text: str) -> list[str]:
    return [str(problem) for problem in shape_problems(tomllib.loads(text))]


def stage(text: str) -> list[str]:
    """Return the problems of a stage, without its place."""
    found = lines(f'[database.a]\nimage = "x"\n[[database.a.stage]]\n{text}')
    return [line.removeprefix("database.a.stage[0]") for line in found]


EVERYTHING = """
"$schema" = "./sqlrs.schema.json"
[database.app]
image = "postgres:17"
name = "shop"
ttl = "8h"
[[database.app.stage]]
psql = ["-f", "a.sql"]
work_dir = "db"
[[database.app.stage]]
liquibase = ["update"]
exec = "bin/liquibase"
env = {JAVA_HOME = "/opt/java"}
work_dir = "db"
[[database.app.stage]]
dump = "prod.dump"
restore = ["--no-owner"]
create_roles = false
[[database.app.stage]]
command = ["alembic", "upgrade", "head"]
inputs = ["migrations/**"]
env = {APP_ENV = "test"}
version_command = ["alembic", "--version"]
work_dir = "."
[database.demo]
from = "app"
"""


def test_everything_that_is_documented_is_allowed() -> None:
    assert lines(EVERYTHING) == []


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(json.loads(schema_text()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lacks database"),
        ("databse = 1", "databse: unknown key; did you mean database?"),
        ("[database]", "database: must not be empty"),
        ("database = 1", "database: must be a table"),
        ("[[database.a]]", "database.a: must be a table: write [database.a]"),
        ("[database.a]", "database.a: needs one of image, from"),
        (
            '[database.a]\nimage = "x"\nfrom = "b"',
            "database.a: has image and from: keep one of them",
        ),
        ('[database.a]\nimge = "x"', "database.a.imge: unknown key; did you mean image?"),
        ("[database.a]\nimage = 17", 'database.a.image: must be a string, such as "postgres:17"'),
        ('[database.a]\nimage = ""', "database.a.image: must not be empty"),
        (
            '[database.a]\nimage = "x"\nttl = 2026-01-01',
            'database.a.ttl: must be a string, such as "8h"',
        ),
        (
            '[database.a]\nimage = "x"\nname = "a b"',
            "database.a.name: must be 1 to 63 letters, digits, dots, underscores and hyphens, "
            "the first a letter or a digit",
        ),
        (
            '[database."a b"]\nimage = "x"',
            'database."a b": a name is 1 to 63 letters, digits, underscores and hyphens, '
            "the first a letter or a digit",
        ),
        (
            '[database.a]\nimage = "x"\n[database.a.stage]\npsql = []',
            "database.a.stage: must be a list: write [[database.a.stage]]",
        ),
        (
            '[database.a]\nimage = "x"\nx = 1',
            "database.a.x: unknown key; known here: image, from, name, ttl, stage",
        ),
    ],
)
def test_a_file_is_explained(text: str, expected: str) -> None:
    assert expected in lines(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [": needs one of psql, liquibase, dump, command"]),
        ('work_dir = "x"', [": needs one of psql, liquibase, dump, command"]),
        ('comand = ["x"]', [".comand: unknown key; did you mean command?"]),
        ('comand = ["x"]\ninputs = []', [".comand: unknown key; did you mean command?"]),
        (
            'psql = ["x"]\ncommand = ["x"]\ninputs = []',
            [": has psql and command: make a stage of each"],
        ),
        (
            'psql = ["x"]\ninputs = []',
            [".inputs: unknown key of a psql stage; known here: psql, work_dir"],
        ),
        (
            'psql = ["x"]\nworkdir = "x"\ntypo = 1',
            [
                ".workdir: unknown key of a psql stage; did you mean work_dir?",
                ".typo: unknown key of a psql stage; known here: psql, work_dir",
            ],
        ),
        (
            "psql = \"-f 'my file.sql' -v x=1\"",
            ['.psql: must be a list: ["-f", "my file.sql", "-v", "x=1"]'],
        ),
        ('psql = "it\'s"', ['.psql: must be a list: ["it\'s"]']),
        ("psql = []", [".psql: must not be empty"]),
        ('psql = ["-v", 1]', [".psql[1]: must be a string"]),
        ('psql = ["a\\u0000b"]', [".psql[0]: must not contain a NUL character"]),
        (
            'command = ["x"]',
            [': lacks inputs, such as inputs = ["migrations/**", "alembic.ini"]'],
        ),
        (
            'command = ["x"]\ninputs = []\nenv = {"A=B" = "c", D = 1}',
            [
                '.env."A=B": the name of a variable must not be empty or contain = or NUL',
                ".env.D: must be a string",
            ],
        ),
        ('dump = "x"\ncreate_roles = "no"', [".create_roles: must be true or false"]),
    ],
)
def test_a_stage_is_explained(text: str, expected: list[str]) -> None:
    assert stage(text) == expected


def test_problems_are_in_the_order_of_the_file() -> None:
    found = lines('[database.b]\n[database.a]\nimage = 1\n[other]\n[database.c]\nimge = "x"\n')
    assert [line.partition(":")[0] for line in found] == [
        "database.b",
        "database.a.image",
        "database.c.imge",
        "other",
    ]


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["psql", "command", "inputs", "stage", "image", "from", "env", "é "]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)  # the first example loads a library, which takes long on a busy machine
@given(st.dictionaries(st.sampled_from(["database", "$schema", "x"]), VALUES, max_size=2))
def test_whatever_the_schema_refuses_is_explained(content: dict[str, Any]) -> None:
    valid = jsonschema.Draft7Validator(json.loads(schema_text())).is_valid(content)
    problems = shape_problems(content)
    assert valid or problems
    for problem in problems:
        assert "\n" not in str(problem)
        assert "'properties'" not in str(problem), "the schema is none of the user's business"


ROOT = Path(__file__).resolve().parents[3]


def test_every_key_is_documented() -> None:
    document = (ROOT / "docs" / "project-file.md").read_text()
    schema = json.loads(schema_text())
    for part in schema["definitions"].values():
        for key in part.get("properties", {}):
            assert f"| `{key}` |" in document


@pytest.mark.parametrize("document", ["README.md", "docs/project-file.md", "docs/recipes.md"])
def test_the_files_in_the_documents_are_valid(document: str) -> None:
    text = (ROOT / document).read_text()
    files = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shown = [file for file in files if "\nimage = " in file]
    assert shown
    assert [lines(file) for file in shown] == [[] for _ in shown]
