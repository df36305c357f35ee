"""Checks find what is wrong outside of the project file, all of it at once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlrs_engine.errors import NotFound
from sqlrs_engine.project.checks import problems_of

Written = Callable[..., Path]

DUMP = """\
--
-- PostgreSQL database dump
--

-- Dumped from database version 17.2

create table t (n int);

--
-- PostgreSQL database dump complete
--
"""


def lines(path: Path, search_path: str = "/usr/bin:/bin") -> list[str]:
    problems, _ = problems_of(path, {"PATH": search_path})
    return [str(problem) for problem in problems]


def test_a_file_without_problems(written: Written) -> None:
    path = written(
        """
        [database.app]
        image = "postgis/postgis:17-3.5"
        [[database.app.stage]]
        psql = ["-f", "my schema é.sql", "-c", "select 1"]
        work_dir = "db"
        [[database.app.stage]]
        dump = "db/prod.dump"
        [[database.app.stage]]
        command = ["sh", "migrate.sh"]
        inputs = ["migrate.sh"]
        [[database.app.stage]]
        command = ["./migrate.sh"]
        inputs = ["migrate.sh"]
        """
    )
    (path.parent / "db").mkdir()
    for name in ("db/my schema é.sql", "migrate.sh"):
        (path.parent / name).write_text("")
    (path.parent / "db/prod.dump").write_text(DUMP)
    (path.parent / "migrate.sh").chmod(0o755)
    assert lines(path) == []
    assert problems_of(path, {})[1] == ["app"]


def test_all_problems_are_found_at_once(written: Written) -> None:
    path = written(
        """
        [database.app]
        image = "postgres:17 "
        [[database.app.stage]]
        psql = ["-f", "nowhere.sql", "-f", "-", "--db", "x"]
        [[database.app.stage]]
        psql = ["-f", "nowhere.sql"]
        [[database.app.stage]]
        psql = ["-c", "x"]
        work_dir = "nowhere"
        [database.broken]
        imge = "x"
        [database.demo]
        from = "broken"
        [[database.demo.stage]]
        liquibase = ["update", "--changelog-file=x.xml"]
        exec = "nothing"
        [[database.demo.stage]]
        dump = "prod.dump"
        [[database.demo.stage]]
        command = ["no-such-program"]
        inputs = ["migrations/**"]
        env = {PGHOST = "elsewhere"}
        [[database.demo.stage]]
        dump = "prod.dump"
        restore = ["--host=x"]
        """
    )
    nowhere = f"there is no file {path.parent}/nowhere.sql"
    expected = [
        "database.broken.imge: unknown key; did you mean image?",
        "database.app.image: invalid image",
        "database.app.stage[0].psql: connection flags are not allowed: --db",
        f"database.app.stage[0].psql: {nowhere}",
        "database.app.stage[0].psql: -f -: a stage has no standard input; name a file",
        f"database.app.stage[1].psql: {nowhere}",
        f"database.app.stage[2].work_dir: there is no directory {path.parent}/nowhere",
        "database.demo.stage[0].exec: there is no program nothing",
        "database.demo.stage[0].liquibase: path does not exist: x.xml",
        "database.demo.stage[1].dump: cannot read file",
        "database.demo.stage[2].command: the program of the command is not on this machine",
        "database.demo.stage[2].inputs: an input pattern matches no file",
        "database.demo.stage[2].env: env cannot set this variable",
        "database.demo.stage[3].dump: cannot read file",
        "database.demo.stage[3].restore: connection flags are not allowed: --host=x",
    ]
    for line, beginning in zip(lines(path), expected, strict=True):
        assert line.startswith(beginning)


def test_a_file_that_is_no_toml_is_one_problem(written: Written) -> None:
    [line] = lines(written("[database.a\n"))
    assert line.startswith("not TOML: ")
    assert "line 1" in line


def test_there_has_to_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        problems_of(tmp_path / "sqlrs.toml", {})


@pytest.mark.skipif(os.getuid() == 0, reason="root can read everything")
def test_a_file_that_cannot_be_read(written: Written) -> None:
    path = written('[database.a]\nimage = "x"\n[[database.a.stage]]\npsql = ["-f", "a.sql"]')
    (path.parent / "a.sql").write_text("")
    (path.parent / "a.sql").chmod(0)
    assert lines(path) == [f"database.a.stage[0].psql: you cannot read {path.parent}/a.sql"]
