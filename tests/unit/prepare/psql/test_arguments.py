"""The psql arguments of a request: what is refused, and the steps that the rest makes."""

import contextlib
import getopt
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.psql_options import CONNECTION, LETTERS, LONG, flags

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql import local_files
from sqlrs_engine.prepare.psql.arguments import Input, PsqlArguments
from sqlrs_engine.prepare.psql.local_files import LocalFiles

OWN = ["-X", "-v", "ON_ERROR_STOP=1"]


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "one.sql"
    path.write_text("select 1;\n")
    return str(path)


def parse(*args, stdin=None):
    return PsqlArguments.parse(args, stdin, LocalFiles().argument_path)


def refusal(*args, stdin=None):
    with pytest.raises(InvalidArgument) as caught:
        parse(*args, stdin=stdin)
    return caught.value.message, caught.value.details


def command_lines(*args, stdin=None):
    return [step.command_line() for step in parse(*args, stdin=stdin).steps]


def test_a_value_that_looks_like_a_connection_flag_is_a_value():
    assert command_lines("-c", "-h")[0] == [*OWN, "-c", "-h"]
    assert command_lines("-v", "-h=1", "-c", "x")[0] == [*OWN, "-v", "-h=1", "-c", "x"]


def test_arguments_after_two_dashes_are_refused():
    assert refusal("-c", "x", "--", "mydb") == ("positional arguments are not allowed", "mydb")
    assert refusal("--", "", "-c") == ("positional arguments are not allowed", "-c")
    assert command_lines("-c", "x", "--") == [[*OWN, "-c", "x"]]


@pytest.mark.parametrize(
    ("args", "details"),
    [
        (["-v", "ON_ERROR_STOP=0"], "0"),
        (["-vON_ERROR_STOP=off"], "off"),
        (["--set", "on_error_stop=0"], "0"),
        (["--set=ON_ERROR_STOP=true"], "true"),
        (["--se", "ON_ERROR_STOP=0"], "0"),
        (["--var=ON_ERROR_STOP=0"], "0"),
        (["-Xv", "ON_ERROR_STOP=0"], "0"),
        (["-v", "ON_ERROR_STOP"], None),
        (["-v", "On_Error_Stop="], ""),
    ],
)
def test_on_error_stop_cannot_be_switched_off(args, details):
    assert refusal(*args) == ("ON_ERROR_STOP must be set to 1", details)


def test_the_path_of_a_file_cannot_be_empty():
    assert refusal("-f", "") == ("file path is empty", None)
    assert refusal("-f", "  ") == ("file path is empty", None)


@pytest.mark.parametrize("path", ["one.sql", "./one.sql", "../one.sql", "~/one.sql"])
def test_the_path_of_a_file_must_be_absolute(path):
    assert refusal("-f", path) == ("file path must be absolute", path)


def test_a_missing_file_is_refused(tmp_path):
    path = str(tmp_path / "missing.sql")
    assert refusal("-f", path) == ("cannot read file", path)


def test_a_directory_is_no_script(tmp_path):
    assert refusal("-f", str(tmp_path)) == ("cannot read file", f"{tmp_path}: it is a directory")


def test_a_pipe_is_no_script(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal("-f", str(pipe)) == ("cannot read file", f"{pipe}: it is not a regular file")


def test_an_unreadable_file_is_refused_with_the_reason(script, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(local_files.os, "open", refuse)
    assert refusal("-f", script) == ("cannot read file", f"{script}: Permission denied")


def test_standard_input_needs_its_flag_and_the_flag_needs_it():
    assert refusal("-f", "-") == ("stdin is required when using -f -", None)
    assert refusal("-c", "x", stdin="select 1") == ("stdin is only valid with -f -", None)
    assert refusal(stdin="select 1") == ("stdin is only valid with -f -", None)
    for args in (["-f", "-"], ["-f-"], ["--file=-"], ["--file", "-"]):
        assert command_lines(*args, stdin="select 1") == [[*OWN, "-f", "-"]]
    assert command_lines("-f", "-", stdin="") == [[*OWN, "-f", "-"]]
    assert command_lines("-c", "x", stdin="") == [[*OWN, "-c", "x"]]


def test_standard_input_is_read_once():
    message, _ = refusal("-f", "-", "-f", "-", stdin="select 1")
    assert message.startswith("stdin can be read only once")


def test_every_step_begins_without_psqlrc_and_stops_at_errors(script):
    lines = command_lines("-f", script, "-c", "select 1", "-v", "a=1", "-f", "-", stdin="x")
    assert [line[:3] for line in lines] == [OWN] * 3


def test_options_apply_to_all_inputs_wherever_they_stand(script):
    args = ("-v", "a=1", "-f", script, "-1", "-vb=2", "-c", "select 1", "-q")
    options = ["-v", "a=1", "-1", "-v", "b=2", "-q"]
    assert command_lines(*args) == [
        [*OWN, *options, "-f", script],
        [*OWN, *options, "-c", "select 1"],
    ]


def test_every_spelling_of_an_option_has_the_same_command_line():
    spellings = (["-1qva=1"], ["-1", "-q", "-v", "a=1"], ["--single-t", "--quie", "--set=a=1"])
    lines = [command_lines(*spelling, "-c", "x") for spelling in spellings]
    assert lines == [[[*OWN, "-1", "-q", "-v", "a=1", "-c", "x"]]] * 3


def test_every_spelling_of_an_input_has_the_same_command_line(script):
    for args in (["-f", script], [f"-f{script}"], [f"--file={script}"], ["-Xf", script]):
        assert command_lines(*args) == [[*OWN, "-f", script]]
    for args in (["-c", "x"], ["-cx"], ["--command=x"], ["--com", "x"], ["-Xcx"]):
        assert command_lines(*args) == [[*OWN, "-c", "x"]]


def test_options_that_every_step_has_are_not_given_twice():
    args = ("-X", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-c", "x")
    assert command_lines(*args) == [[*OWN, "-c", "x"]]


def test_options_keep_values_of_all_kinds():
    line = command_lines(
        "-P", "null=NULL", "-F,", "--csv", "-R", "", "--log-file=/tmp/l", "-c", "x"
    )
    assert line == [
        [*OWN, "-P", "null=NULL", "-F", ",", "--csv", "-R", "", "-L", "/tmp/l", "-c", "x"]
    ]


def test_without_an_input_there_is_one_step_that_reads_nothing():
    arguments = parse("-q")
    assert [step.input for step in arguments.steps] == [Input("nothing")]
    assert command_lines("-q") == [[*OWN, "-q"]]
    assert arguments.steps[0].summary() == ""


def test_empty_arguments_are_skipped():
    assert parse("", "-c", "x", "").normalized == "-c x -X -v ON_ERROR_STOP=1"
    assert command_lines("", "-c", "x", "") == [[*OWN, "-c", "x"]]


def test_steps_are_summed_up_by_their_input(script):
    steps = parse("-q", "-f", script, "-c", "select 1", "-f", "-", stdin="x").steps
    assert [step.summary() for step in steps] == [f"-f {script}", "-c select 1", "-f -"]


def test_normalized_arguments_show_the_options_that_every_step_has(tmp_path):
    one, two = tmp_path / "one.sql", tmp_path / "two.sql"
    one.touch()
    two.touch()
    stop = "-v ON_ERROR_STOP=1"
    for args, normalized in (
        (["-f", str(one), "-f", str(two)], f"-f {one} -f {two} -X {stop}"),
        (["-v", "ON_ERROR_STOP=1", "-f", str(one)], f"{stop} -f {one} -X"),
        (["--set=ON_ERROR_STOP=1", "-c", "x"], "--set=ON_ERROR_STOP=1 -c x -X"),
        (["-X", "-c", "select 1"], f"-X -c select 1 {stop}"),
        (["--no-psqlrc", "-c", "x"], f"--no-psqlrc -c x {stop}"),
        ([], f"-X {stop}"),
    ):
        assert parse(*args).normalized == normalized


def test_the_directory_of_the_arguments_is_that_of_the_first_file(tmp_path, script):
    other = tmp_path / "sub"
    other.mkdir()
    (other / "two.sql").touch()
    second = str(other / "two.sql")
    assert parse("-c", "x", "-f", second, "-f", script).directory() == other
    assert parse("-c", "x").directory() is None


@given(st.lists(flags, max_size=6))
@settings(deadline=None)
def test_no_accepted_arguments_reach_another_server(args):
    with contextlib.suppress(InvalidArgument):
        for step in parse(*args, stdin=None).steps:
            line = step.command_line()
            read, positional = getopt.gnu_getopt(line, LETTERS, LONG)
            assert not CONNECTION & {flag for flag, _ in read}
            assert positional == []
            assert read[:2] == [("-X", ""), ("-v", "ON_ERROR_STOP=1")]
            assert ("-v", "ON_ERROR_STOP=0") not in read
