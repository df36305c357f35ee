"""Commands for project files, before there is an engine."""

import json
from pathlib import Path

import pytest

from sqlrs_engine import cli
from sqlrs_engine.project.shape import schema_text

FILE = """
[database.app]
image = "postgres:17"
[[database.app.stage]]
psql = ["-f", "schema.sql"]
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a project file, in which the commands run."""
    directory = tmp_path / "shop"
    directory.mkdir()
    (directory / "sqlrs.toml").write_text(FILE)
    (directory / "schema.sql").write_text("create table t ();")
    monkeypatch.chdir(directory)
    return directory


def run(*args: str) -> int:
    return cli.main(args, {"HOME": str(Path.cwd().parent), "PATH": "/usr/bin:/bin"})


def test_a_valid_file(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check") == 0
    assert capsys.readouterr().out == "sqlrs.toml is valid: app\n"
    assert run("check", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "path": f"{shop}/sqlrs.toml",
        "databases": ["app"],
        "problems": [],
    }


def test_problems_go_to_the_output_all_at_once(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "sqlrs.toml").write_text(f'{FILE}workdir = "x"\n[database.b]\nfrom = "c"\n')
    assert run("check") == 1
    assert capsys.readouterr().out.splitlines() == [
        "sqlrs.toml: database.app.stage[0].workdir: unknown key of a psql stage; "
        "did you mean work_dir?",
        "sqlrs.toml: database.b.from: there is no database c; known here: app, b",
    ]
    assert run("check", "--json") == 1
    [first, _] = json.loads(capsys.readouterr().out)["problems"]
    assert first["place"] == "database.app.stage[0].workdir"


def test_the_schema_is_printed_as_it_is(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--print-schema") == 0
    assert capsys.readouterr().out == schema_text()


@pytest.mark.parametrize("command", ["up", "plan", "explain"])
@pytest.mark.parametrize(
    ("text", "args", "code", "message"),
    [
        ("[database.app\n", (), 1, "not TOML: "),
        (FILE.replace("psql =", "pqsl ="), (), 1, "stage[0].pqsl: unknown key; did you mean psql?"),
        (FILE.replace('"-f"', '"-d"'), (), 1, "stage[0].psql: connection flags are not allowed"),
        (FILE, ("ap",), 2, "sqlrs.toml has no database ap: did you mean app?"),
        (FILE, ("--file", "nowhere.toml"), 1, "the project file does not exist"),
        (FILE, ("--no-start",), 3, "no engine is running"),
    ],
)
def test_what_keeps_a_command_from_running(
    shop: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    text: str,
    args: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    (shop / "sqlrs.toml").write_text(text)
    assert run(command, *args) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in shop.parent.iterdir()) == ["shop"], "nothing was started"


def test_a_file_for_variables_is_checked_first(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("up", "--write-env", "nowhere/.env") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_without_a_project_file_there_is_advice(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "sqlrs.toml").unlink()
    assert run("up") == 1
    assert "make one, or name it with --file" in capsys.readouterr().err


def test_outputs_exclude_each_other(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("up", "--env", "--json") == 2
    assert "--json" in capsys.readouterr().err
