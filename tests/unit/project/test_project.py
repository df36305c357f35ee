"""Databases of a project: references, names, and the requests made of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine.errors import InvalidArgument, ProjectFileInvalid
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.project.database import instance_name
from sqlrs_engine.project.project import Project
from sqlrs_engine.registry import check_name

Written = Callable[..., Path]

APP = """
[database.app]
image = "postgres:17"
[[database.app.stage]]
psql = ["-qf", "db/schema.sql", "-v", "tenant=$HOME"]
[database.demo]
from = "app"
ttl = "90m"
[[database.demo.stage]]
command = ["alembic", "upgrade", "head"]
inputs = ["migrations/**"]
env = {A = "1"}
work_dir = "api"
[database.more]
from = "demo"
name = "more"
[[database.more.stage]]
dump = "prod.dump"
restore = ["--no-owner"]
create_roles = false
[[database.more.stage]]
liquibase = ["update"]
exec = "bin/liquibase"
env = {A = "1"}
"""


def refused(path: Path) -> list[str]:
    with pytest.raises(ProjectFileInvalid) as failure:
        Project.load(path)
    assert failure.value.facts is not None
    return [f"{each['place']}: {each['reason']}" for each in failure.value.facts["problems"]]


def test_a_database_has_the_stages_of_those_it_starts_from(written: Written) -> None:
    path = written(APP)
    here = path.parent
    database = Project.load(path).database("more")
    assert (database.image, database.instance_name, database.ttl) == ("postgres:17", "more", None)
    body = database.request({"PATH": "/nowhere", "JAVA_HOME": "/java"})
    request = PrepareRequest.from_json(body)
    psql, command, dump, liquibase = [stage.to_json() for stage in request.stages]
    assert psql == {
        "psql_args": ["-q", "-f", f"{here}/db/schema.sql", "-v", "tenant=$HOME"],
        "work_dir": str(here),
    }
    assert command["work_dir"] == f"{here}/api"
    assert (command["inputs"], command["env"]) == (["migrations/**"], {"A": "1"})
    assert dump == {
        "path": f"{here}/prod.dump",
        "restore_args": ["--no-owner"],
        "create_roles": False,
    }
    assert liquibase["liquibase_exec"] == f"{here}/bin/liquibase"
    assert liquibase["liquibase_env"] == {"JAVA_HOME": "/java", "A": "1"}


def test_the_instance_has_the_name_of_directory_and_database(written: Written) -> None:
    project = Project.load(written(APP, directory="my shop é"))
    assert project.database("app").instance_name == "my-shop---app"
    assert project.database("demo").ttl == "1h30m0s"


def test_the_only_database_needs_no_name(written: Written) -> None:
    project = Project.load(written('[database.app]\nimage = "x"'))
    assert project.database(None).name == "app"
    with pytest.raises(InvalidArgument, match=r"has no database ap: did you mean app\?"):
        project.database("ap")
    project = Project.load(written(APP))
    with pytest.raises(InvalidArgument, match="several databases: name one: app, demo, more"):
        project.database(None)


def test_a_database_without_stages_is_a_request_too(written: Written) -> None:
    body = Project.load(written('[database.app]\nimage = "x"')).database("app").request({})
    assert len(PrepareRequest.from_json(body).stages) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[database.a]\nfrom = "bb"\n[database.b]\nimage = "x"',
            "database.a.from: there is no database bb; did you mean b?",
        ),
        (
            '[database.a]\nfrom = "a"',
            "database.a.from: the databases start from each other: a → a",
        ),
        (
            '[database.c]\nfrom = "a"\n[database.a]\nfrom = "b"\n[database.b]\nfrom = "a"',
            "database.a.from: the databases start from each other: a → b → a",
        ),
        (
            '[database.a]\nimage = "x"\nname = "n"\n[database.b]\nimage = "x"\nname = "n"',
            "database.b.name: database a has the instance name n, too: choose another",
        ),
        (
            f'[database.a]\nimage = "x"\nname = "{"0a" * 16}"',
            "database.a.name: must not have the form of an instance id",
        ),
        ('[database.a]\nimage = "x"\nttl = "-1h"', "database.a.ttl: must not be negative"),
        (
            '[database.a]\nimage = "x"\nttl = "soon"',
            "database.a.ttl: 'soon' is not a duration: write it like 90s, 10m, 1h30m or 500ms",
        ),
    ],
)
def test_references_that_lead_nowhere_are_refused(
    written: Written, text: str, expected: str
) -> None:
    assert refused(written(text)) == [expected]


def test_all_problems_are_told(written: Written) -> None:
    path = written(
        '[database.a]\nimge = "x"\n[database.b]\nfrom = "a"\nttl = "x"\n[database.c]\nfrom = "d"'
    )
    assert [line.partition(":")[0] for line in refused(path)] == [
        "database.a.imge",
        "database.c.from",
        "database.b.ttl",
    ]
    with pytest.raises(ProjectFileInvalid) as failure:
        Project.load(path)
    assert str(failure.value) == (
        "sqlrs.toml is not valid: database.a.imge: unknown key; did you mean image? "
        "(and 2 more: sqlrs-engine check shows them)"
    )


def test_arguments_that_psql_does_not_have_are_refused_with_their_place(written: Written) -> None:
    path = written(
        '[database.a]\nimage = "x"\n[[database.a.stage]]\npsql = ["-c", "x"]\n'
        '[[database.a.stage]]\npsql = ["-h", "elsewhere"]'
    )
    with pytest.raises(ProjectFileInvalid, match=r"database\.a\.stage\[1\]\.psql: connection"):
        Project.load(path).database("a").request({})


def test_places_in_the_engines_words_become_those_of_the_file(written: Written) -> None:
    database = Project.load(written(APP)).database("more")
    assert database.located("stages[1]: no") == "database.demo.stage[0]: no"
    assert database.located("stages[3]") == "database.more.stage[1]"
    assert database.located("stages[4]: no") == "stages[4]: no"
    assert database.located("/x/stages[0]") == "/x/stages[0]"


@given(st.text(max_size=80), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}", fullmatch=True))
def test_default_names_are_names(directory: str, database: str) -> None:
    name = instance_name(database, {}, directory)
    assert name.endswith(database)
    if len(name) != 32:  # it may have the form of an id, which is refused
        check_name(name)


@given(st.integers(0, 2**16), st.data())
def test_chains_of_databases_are_expanded_in_order(seed: int, data: st.DataObject) -> None:
    names = data.draw(st.permutations([f"d{number}" for number in range(5)]))
    tables: dict[str, dict[str, object]] = {}
    for number, name in enumerate(names):
        start = {"from": names[number - 1]} if number else {"image": "x"}
        tables[name] = {**start, "stage": [{"psql": ["-c", name]}]}
    shuffled = dict(data.draw(st.permutations(list(tables.items()))))
    project = Project(Path("/shop/sqlrs.toml"), shuffled)
    last = project.database(names[-1])
    assert [stage.table["psql"][1] for stage in last.stages] == names
