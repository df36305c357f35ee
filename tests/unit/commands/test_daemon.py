"""The daemon's flags, in Go's syntax, and what the command line does with them."""

from pathlib import Path

import pytest

from sqlrs_engine import __version__, cli
from sqlrs_engine.commands import daemon
from sqlrs_engine.errors import InvalidArgument

REQUIRED = ["--listen", "127.0.0.1:0", "--write-engine-json", "/s/engine.json"]


def test_the_command_line_of_the_sqlrs_client() -> None:
    flags = daemon.parse(
        ["--run-dir", "/s/run", *REQUIRED, "--idle-timeout", "2m0s"],
    )
    assert flags == daemon.DaemonFlags(
        listen="127.0.0.1:0",
        engine_file=Path("/s/engine.json"),
        run_dir=Path("/s/run"),
        idle_timeout=120.0,
        version="dev",
    )


def test_defaults() -> None:
    flags = daemon.parse(REQUIRED)
    assert (flags.run_dir, flags.idle_timeout, flags.version) == (None, 30.0, "dev")


@pytest.mark.parametrize(
    "argument",
    [["-version", "v1"], ["--version", "v1"], ["-version=v1"], ["--version=v1"]],
)
def test_every_spelling(argument: list[str]) -> None:
    assert daemon.parse([*argument, *REQUIRED]).version == "v1"


def test_a_value_may_hold_an_equals_sign_or_start_with_a_dash() -> None:
    assert daemon.parse([*REQUIRED, "--version=a=b"]).version == "a=b"
    assert daemon.parse([*REQUIRED, "--idle-timeout", "-1s"]).idle_timeout == -1


def test_the_last_one_counts() -> None:
    assert daemon.parse([*REQUIRED, "--version=1", "--version=2"]).version == "2"


def test_paths_become_absolute() -> None:
    flags = daemon.parse(["--listen=:0", "--write-engine-json=e.json", "--run-dir=r"])
    assert flags.engine_file == Path.cwd() / "e.json"
    assert flags.run_dir == Path.cwd() / "r"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "missing required flag: --listen"),
        (["--listen=x"], "missing required flag: --write-engine-json"),
        (["--listen=", "--write-engine-json=x"], "missing required flag: --listen"),
        (["--nope"], "unknown flag: --nope"),
        (["---listen=x"], "unexpected argument: ---listen=x"),
        ([*REQUIRED, "extra"], "unexpected argument: extra"),
        ([*REQUIRED, "--"], "unexpected argument: --"),
        ([*REQUIRED, "-"], "unexpected argument: -"),
        (["--listen"], "flag needs a value: --listen"),
        ([*REQUIRED, "--idle-timeout=soon"], "invalid --idle-timeout 'soon'"),
    ],
)
def test_wrong_daemon_flags_are_refused(argv: list[str], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        daemon.parse(argv)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize("argv", [["--nope"], ["--listen", "127.0.0.1:0"], ["-x=1"]])
def test_bad_flags_exit_with_2_and_one_line(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv, {}) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("sqlrs-engine: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv, {}) == 0
    text = capsys.readouterr().out
    for word in (
        "prepare",
        "exec",
        "ls",
        "rm",
        "status",
        "serve",
        "stop",
        "doctor",
        "postgres",
        "store",
    ):
        assert word in text
    assert "exit codes" in text


@pytest.mark.parametrize("argv", [["--version"], ["-version"]])
def test_version(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv, {}) == 0
    assert capsys.readouterr().out == f"sqlrs-engine {__version__}\n"


def test_an_unknown_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["nope"], {}) == 2
    assert "invalid choice" in capsys.readouterr().err
