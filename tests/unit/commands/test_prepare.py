"""The client's side of ``prepare``: psql's arguments before they are sent."""

import io
from pathlib import Path
from typing import Any, TextIO

import pytest

from sqlrs_engine import cli
from sqlrs_engine.commands.prepare_request import command_request, dump_request, psql_request
from sqlrs_engine.commands.progress import PlainProgress, describe
from sqlrs_engine.commands.terminal import Terminal
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.prepare.stages import PsqlStage

CWD = Path("/w/ws")


class Typed(io.StringIO):
    """Standard input of a terminal: nobody has typed anything, and reading it would wait."""

    def isatty(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> str:
        raise AssertionError("a terminal was read")


def asked(*args: str, stdin: TextIO | None = None) -> dict[str, Any]:
    terminal = Terminal(
        environ={}, cwd=CWD, stdin=stdin or Typed(), stdout=io.StringIO(), stderr=io.StringIO()
    )
    return psql_request(args, terminal)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["-f", "a.sql"], ["-f", "/w/ws/a.sql"]),
        (["-fa.sql"], ["-f", "/w/ws/a.sql"]),
        (["--file", "a.sql"], ["-f", "/w/ws/a.sql"]),
        (["--file=a.sql"], ["-f", "/w/ws/a.sql"]),
        (["--fil", "a.sql"], ["-f", "/w/ws/a.sql"]),
        (["-qf", "a.sql"], ["-q", "-f", "/w/ws/a.sql"]),
        (["-1fa.sql"], ["-1", "-f", "/w/ws/a.sql"]),
        (["-Xqfa.sql"], ["-X", "-q", "-f", "/w/ws/a.sql"]),
        (["-f", "/x/a.sql"], ["-f", "/x/a.sql"]),
        (["-c", "-f", "-f", "a.sql"], ["-c", "-f", "-f", "/w/ws/a.sql"]),
        (["-v", "-f", "-c", "x"], ["-v", "-f", "-c", "x"]),
        (["-v", "file=a.sql", "--csv", "-cx"], ["-v", "file=a.sql", "--csv", "-c", "x"]),
        (["-f", "-c", "-f", "b"], ["-f", "/w/ws/-c", "-f", "/w/ws/b"]),
        (["-f", "a.sql", "-v", "n=5"], ["-f", "/w/ws/a.sql", "-v", "n=5"]),
    ],
)
def test_files_are_made_absolute(given: list[str], sent: list[str]) -> None:
    assert asked(*given) == {"prepare_kind": "psql", "psql_args": sent}


@pytest.mark.parametrize("args", [["-f", "-"], ["-f-"], ["--file", "-"], ["--fil=-"], ["-qf-"]])
def test_standard_input_is_read_when_named(args: list[str]) -> None:
    request = asked(*args, stdin=io.StringIO("select 1"))
    assert request["psql_args"][-2:] == ["-f", "-"]
    assert request["stdin"] == "select 1"


def test_without_an_input_standard_input_is_read_as_psql_does() -> None:
    request = asked("-v", "a=1", stdin=io.StringIO("select :a"))
    assert request["psql_args"] == ["-v", "a=1", "-f", "-"]
    assert request["stdin"] == "select :a"


def test_without_any_input_there_is_an_empty_database() -> None:
    for stdin in (Typed(), io.StringIO("")):
        assert asked(stdin=stdin) == {"prepare_kind": "psql", "psql_args": []}


def test_standard_input_is_left_alone_beside_other_inputs() -> None:
    assert "stdin" not in asked("-c", "select 1", stdin=io.StringIO("select 2"))


def test_standard_input_keeps_its_bytes() -> None:
    for script in (b"select 'caf\xe9';", b"select 'caf\xc3\xa9';\r\n"):
        typed = io.TextIOWrapper(io.BytesIO(script), encoding="ascii")
        request = asked("-f", "-", stdin=typed)
        read = PrepareRequest.from_json({"image_id": "postgres", **request})
        (stage,) = read.stages
        assert isinstance(stage, PsqlStage)
        assert (stage.stdin or "").encode("utf-8", "surrogateescape") == script
        assert PrepareRequest.from_json(read.to_json()) == read
        assert ("stdin" in request) is (b"\xe9" not in script)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stdin": "x", "stdin_base64": "eA=="}, "exclude each other"),
        ({"stdin_base64": "no base64"}, "not base64"),
        ({"stdin_base64": "AA=="}, "NUL"),
    ],
)
def test_standard_input_that_makes_no_sense(fields: dict[str, str], message: str) -> None:
    body = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": ["-f", "-"], **fields}
    with pytest.raises(InvalidArgument, match=message):
        PrepareRequest.from_json(body)


@pytest.mark.parametrize("args", [["-f"], ["-h", "elsewhere"], ["--nonsense"], ["mydb"]])
def test_what_psql_would_not_accept_is_a_usage_error(
    args: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prepare", "--state-dir", str(tmp_path), "--", *args], {}) == 2
    assert list(tmp_path.iterdir()) == []
    assert args[0] in capsys.readouterr().err


def test_plain_progress_prints_tasks_once_and_no_output() -> None:
    stream = io.StringIO()
    progress = PlainProgress(lambda line: stream.write(f"{line}\n"), verbose=False)
    task = {"type": "task", "task_id": "execute-0", "status": "running"}
    for event in (
        {"type": "status", "status": "running"},
        task,
        {"type": "log", "message": "psql: CREATE TABLE"},
        task,
        {**task, "status": "succeeded"},
    ):
        progress.show(event)
    assert stream.getvalue() == "execute-0: running\nexecute-0: succeeded\n"


def test_cached_steps_are_one_line_however_many() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append, verbose=False)
    progress.show({"type": "task", "task_id": "plan", "status": "running"})
    progress.show({"type": "task", "task_id": "plan", "status": "succeeded"})
    for number in range(1413):
        progress.show({"type": "task", "task_id": f"execute-{number}", "status": "succeeded"})
    progress.show({"type": "task", "task_id": "prepare-instance", "status": "running"})
    assert lines == [
        "plan: running",
        "plan: succeeded",
        "execute-0 to execute-1412: cached",
        "prepare-instance: running",
    ]


def test_a_cached_step_between_others_keeps_its_place() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append, verbose=False)
    for task, status in (("0", "succeeded"), ("1", "running"), ("1", "succeeded")):
        progress.show({"type": "task", "task_id": f"execute-{task}", "status": status})
    progress.show({"type": "task", "task_id": "execute-2", "status": "succeeded"})
    progress.show({"type": "task", "task_id": "execute-2", "status": "succeeded"})
    progress.end()
    assert lines == [
        "execute-0: cached",
        "execute-1: running",
        "execute-1: succeeded",
        "execute-2: cached",
    ]


def test_verbose_progress_prints_the_output() -> None:
    assert describe({"type": "log", "message": "psql: CREATE TABLE"}) == "  psql: CREATE TABLE"


def test_unknown_events_are_passed_over() -> None:
    assert describe({"type": "surprise"}) == ""


def test_without_an_engine_it_says_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["prepare", "--no-start", "--state-dir", str(tmp_path), "--", "-c", "x"], {})
    assert code == 3
    error = capsys.readouterr().err
    assert "no engine is running" in error
    assert "sqlrs-engine serve" in error
    assert "Traceback" not in error


def test_a_bad_ttl_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prepare", "--ttl", "soon", "--state-dir", str(tmp_path)], {}) == 2
    assert list(tmp_path.iterdir()) == []
    assert "soon" in capsys.readouterr().err


def test_the_download_of_an_extension_is_shown_without_verbose() -> None:
    lines = list[str]()
    progress = PlainProgress(lines.append, verbose=False)
    for message in ("psql: start", "downloading pgcrypto of PostgreSQL 18.6", "psql: downloading"):
        progress.show({"type": "log", "message": message})
    assert lines == ["  downloading pgcrypto of PostgreSQL 18.6"]


def test_a_warning_is_shown_without_verbose() -> None:
    lines: list[str] = []
    progress = PlainProgress(lines.append, verbose=False)
    for message in ("tool: warning: x", "warning: tool did not connect"):
        progress.show({"type": "log", "message": message})
    assert lines == ["  warning: tool did not connect"]


def test_a_pull_is_shown_every_few_seconds_without_verbose() -> None:
    time, lines = 0.0, list[str]()
    progress = PlainProgress(lines.append, verbose=False, clock=lambda: time)
    for step in range(21):
        time = 100 + step / 2
        message = f"pulling postgis/postgis:17-3.5: {step}.0 of 20.0 MiB"
        progress.show({"type": "log", "message": message})
    progress.show({"type": "log", "message": "psql: pulling the plug"})
    progress.show({"type": "log", "message": "pulled postgis/postgis:17-3.5"})
    assert lines == [
        "  pulling postgis/postgis:17-3.5: 0.0 of 20.0 MiB",
        "  pulling postgis/postgis:17-3.5: 10.0 of 20.0 MiB",
        "  pulling postgis/postgis:17-3.5: 20.0 of 20.0 MiB",
        "  pulled postgis/postgis:17-3.5",
    ]


def command(*argv: str, environ: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    terminal = Terminal(
        environ=environ or {}, cwd=CWD, stdin=Typed(), stdout=io.StringIO(), stderr=io.StringIO()
    )
    options = {"inputs": (), "env": (), "version_command": None, "work_dir": None, **fields}
    request = command_request(argv, terminal, **options)
    PrepareRequest.from_json({**request, "image_id": "postgres"})
    (stage,) = request["stages"]
    return dict(stage)


def test_a_command_is_sent_with_the_places_of_programs() -> None:
    environ = {"PATH": "/w/bin:/bin", "HOME": "/home/me", "LANG": "de_DE", "SECRET": "x"}
    stage = command("alembic", "upgrade", "head", environ=environ, inputs=["migrations/**"])
    assert stage == {
        "kind": "command",
        "argv": ["alembic", "upgrade", "head"],
        "inputs": ["migrations/**"],
        "env": {},
        "base_env": {"PATH": "/w/bin:/bin", "HOME": "/home/me"},
        "work_dir": "/w/ws",
        "version_command": [],
    }


def test_a_command_may_run_elsewhere_and_tell_its_version() -> None:
    stage = command("./migrate", work_dir="db", version_command="./migrate 'a b' --version")
    assert stage["work_dir"] == "/w/ws/db"
    assert stage["version_command"] == ["./migrate", "a b", "--version"]


def test_variables_are_given_or_taken_from_the_environment() -> None:
    stage = command("x", env=["APP=a=b", "EMPTY=", "HOME"], environ={"HOME": "/home/me"})
    assert stage["env"] == {"APP": "a=b", "EMPTY": "", "HOME": "/home/me"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--command", "--no-inputs"], "write it after --"),
        (["--command", "--", "x"], "--no-inputs if it reads none"),
        (["--command", "--no-inputs", "--input", "x", "--", "x"], "--no-inputs if it reads none"),
        (["--command", "--no-inputs", "--env", "NOPE", "--", "x"], "no such variable"),
        (["--command", "--no-inputs", "--version-command", "a 'b", "--", "x"], "its quotes"),
        (["--command", "--liquibase", "--", "x"], "excludes"),
        (["--command", "--dump", "x"], "excludes"),
        (["--input", "x", "--", "-c", "select 1"], "add --command"),
        (["--work-dir", "x", "--", "-c", "select 1"], "--work-dir is for commands"),
        (["--no-inputs", "--", "-c", "select 1"], "--no-inputs is for commands"),
        (["--trace-inputs", "--", "-c", "select 1"], "--trace-inputs is for commands"),
        (["--command", "--trace-inputs", "--plan", "--", "x"], "keeps no database"),
    ],
)
def test_options_of_commands_that_make_no_sense(
    args: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prepare", "--state-dir", str(tmp_path), *args], {}) == 2
    assert message in capsys.readouterr().err


def dump_asked(path: str, *args: str, create_roles: bool = True) -> dict[str, Any]:
    terminal = Terminal(
        environ={}, cwd=CWD, stdin=Typed(), stdout=io.StringIO(), stderr=io.StringIO()
    )
    (stage,) = dump_request(path, args, terminal, create_roles=create_roles)["stages"]
    found: dict[str, Any] = stage
    return found


def test_a_dump_is_a_stage_with_its_absolute_path() -> None:
    stage = dump_asked("prod.dump", "-O")
    assert stage == {
        "kind": "dump",
        "path": "/w/ws/prod.dump",
        "restore_args": ["-O"],
        "create_roles": True,
    }
    assert dump_asked("/x/prod.dump", create_roles=False)["path"] == "/x/prod.dump"
    assert dump_asked("ab" * 32)["dump_id"] == "ab" * 32


@pytest.mark.parametrize(
    "args",
    [
        ["--dump", "prod.dump", "--liquibase", "--", "update"],
        ["--no-create-roles", "--", "-c", "select 1"],
    ],
)
def test_options_of_dumps_are_for_dumps(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["prepare", *args]) != 0
    assert "--dump" in capsys.readouterr().err
