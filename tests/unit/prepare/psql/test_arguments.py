"""The psql arguments of a preparation: what is refused, and the steps the rest makes."""

import contextlib
import getopt
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql import local_files, options
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


@pytest.mark.parametrize(
    "args",
    [
        ["-h", "db.example"],
        ["-hdb.example"],
        ["-p", "5432"],
        ["-p5432"],
        ["-port"],
        ["-U", "postgres"],
        ["-Upostgres"],
        ["-d", "other"],
        ["-dother"],
        ["--host", "x"],
        ["--host=x"],
        ["--port", "1"],
        ["--port=1"],
        ["--username", "x"],
        ["--username=x"],
        ["--dbname", "x"],
        ["--dbname=x"],
        ["--database", "x"],
        ["--database=x"],
        ["--hos=x"],
        ["--por", "1"],
        ["--user=x"],
        ["--db=x"],
        ["-Xh", "x"],
        ["-Xhx"],
        ["-1Uroot"],
        ["-qAtd", "x"],
    ],
)
def test_connection_flags(args):
    assert refusal(*args) == ("connection flags are not allowed", args[0])


def test_connection_flags_after_others():
    assert refusal("-c", "select 1", "-q", "-Xd", "x")[1] == "-Xd"


def test_a_value_that_looks_like_a_connection_flag_is_a_value():
    assert command_lines("-c", "-h")[0] == [*OWN, "-c", "-h"]
    assert command_lines("-v", "-h=1", "-c", "x")[0] == [*OWN, "-v", "-h=1", "-c", "x"]


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["mydb"], "mydb"),
        (["-c", "select 1", "host=elsewhere"], "host=elsewhere"),
        (["-"], "-"),
        (["-q", "postgres://elsewhere/db"], "postgres://elsewhere/db"),
    ],
)
def test_bare_words(args, word):
    assert refusal(*args) == ("positional database arguments are not allowed", word)


def test_what_follows_two_dashes():
    assert refusal("-c", "x", "--", "mydb") == ("positional arguments are not allowed", "mydb")
    assert refusal("--", "", "-c") == ("positional arguments are not allowed", "-c")
    assert command_lines("-c", "x", "--") == [[*OWN, "-c", "x"]]


@pytest.mark.parametrize("flag", ["-v", "--set", "--variable"])
def test_a_variable_flag_needs_a_value(flag):
    assert refusal("-c", "x", flag) == ("missing value for variable flag", flag)


def test_an_empty_variable_is_one_with_equals():
    assert refusal("--set=") == ("missing value for variable flag", "--set")


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
def test_errors_always_stop(args, details):
    assert refusal(*args) == ("ON_ERROR_STOP must be set to 1", details)


@pytest.mark.parametrize("args", [["-f"], ["--file"], ["--file="], ["--fil"]])
def test_a_file_flag_needs_a_value(args):
    message, details = refusal(*args)
    assert message == "missing value for file flag"
    assert details in ("-f", args[0].rstrip("="))


@pytest.mark.parametrize("args", [["-c"], ["--command"], ["--command="], ["-qc"]])
def test_a_command_flag_needs_a_value(args):
    assert refusal(*args)[0] == "missing value for command flag"


def test_other_flags_need_their_values():
    assert refusal("-P") == ("missing value for flag", "-P")
    assert refusal("--pset") == ("missing value for flag", "--pset")


def test_the_path_of_a_file_cannot_be_empty():
    assert refusal("-f", "") == ("file path is empty", None)
    assert refusal("-f", "  ") == ("file path is empty", None)


@pytest.mark.parametrize("path", ["one.sql", "./one.sql", "../one.sql", "~/one.sql"])
def test_relative_files(path):
    assert refusal("-f", path) == ("file path must be absolute", path)


def test_missing_files(tmp_path):
    path = str(tmp_path / "missing.sql")
    assert refusal("-f", path) == ("cannot read file", path)


def test_directories_are_no_scripts(tmp_path):
    assert refusal("-f", str(tmp_path)) == ("cannot read file", f"{tmp_path}: it is a directory")


def test_pipes_are_no_scripts(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal("-f", str(pipe)) == ("cannot read file", f"{pipe}: it is not a regular file")


def test_unreadable_files(script, monkeypatch):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(local_files.os, "open", refuse)
    assert refusal("-f", script) == ("cannot read file", f"{script}: Permission denied")


def test_nul_characters():
    for args in (["-c", "select 1\0"], ["-v", "a=\0"], ["-f", "/a\0b"]):
        assert refusal(*args) == ("arguments must not contain a NUL character", None)


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


@pytest.mark.parametrize("flag", ["-?", "-V", "-l", "--help", "--help=commands", "--list", "-Xl"])
def test_flags_with_which_nothing_runs(flag):
    assert refusal(flag) == ("flags that keep psql from running are not allowed: remove them", flag)


@pytest.mark.parametrize("flag", ["-s", "-W", "--single-step", "--password", "-qs"])
def test_flags_that_want_a_terminal(flag):
    assert refusal(flag) == ("interactive flags are not allowed: remove them", flag)


@pytest.mark.parametrize("flag", ["-@", "--nonsense", "--nonsense=1", "--=host=x", "-q-", "-X-c"])
def test_flags_that_psql_does_not_have(flag):
    assert refusal(flag, "-c", "x") == ("psql has no such flag: see psql --help", flag)


@pytest.mark.parametrize("flag", ["--single", "--no-p", "--no", "--echo", "--field=x"])
def test_ambiguous_abbreviations(flag):
    assert refusal(flag) == ("ambiguous flag: write it in full", flag)


@pytest.mark.parametrize("flag", ["--quiet=host=x", "--csv=host=x", "--single-t=x", "--no-psql=x"])
def test_values_of_flags_without_one_do_not_become_databases(flag):
    assert refusal(flag) == ("the flag takes no value: remove the value", flag)


def test_every_step_begins_with_our_own_options(script):
    lines = command_lines("-f", script, "-c", "select 1", "-v", "a=1", "-f", "-", stdin="x")
    assert [line[:3] for line in lines] == [OWN] * 3


def test_options_apply_to_all_inputs_wherever_they_stand(script):
    args = ("-v", "a=1", "-f", script, "-1", "-vb=2", "-c", "select 1", "-q")
    options = ["-v", "a=1", "-1", "-v", "b=2", "-q"]
    assert command_lines(*args) == [
        [*OWN, *options, "-f", script],
        [*OWN, *options, "-c", "select 1"],
    ]


def test_every_spelling_of_an_option_comes_to_the_same():
    spellings = (["-1qva=1"], ["-1", "-q", "-v", "a=1"], ["--single-t", "--quie", "--set=a=1"])
    lines = [command_lines(*spelling, "-c", "x") for spelling in spellings]
    assert lines == [[[*OWN, "-1", "-q", "-v", "a=1", "-c", "x"]]] * 3


def test_every_spelling_of_an_input_comes_to_the_same(script):
    for args in (["-f", script], [f"-f{script}"], [f"--file={script}"], ["-Xf", script]):
        assert command_lines(*args) == [[*OWN, "-f", script]]
    for args in (["-c", "x"], ["-cx"], ["--command=x"], ["--com", "x"], ["-Xcx"]):
        assert command_lines(*args) == [[*OWN, "-c", "x"]]


def test_our_own_options_are_not_given_twice():
    args = ("-X", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-c", "x")
    assert command_lines(*args) == [[*OWN, "-c", "x"]]


def test_options_with_values_of_all_kinds():
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


def test_normalized_arguments(tmp_path):
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


def test_the_directory_is_that_of_the_first_file(tmp_path, script):
    other = tmp_path / "sub"
    other.mkdir()
    (other / "two.sql").touch()
    second = str(other / "two.sql")
    assert parse("-c", "x", "-f", second, "-f", script).directory() == other
    assert parse("-c", "x").directory() is None


# -- what psql itself would read, worked out by Python's getopt with psql's own letters --

LETTERS = "aAbc:d:eEf:F:h:HlL:no:p:P:qR:sStT:U:v:VwWxXz01?"
LONG = [
    "echo-all", "no-align", "command=", "dbname=", "echo-queries", "echo-errors",
    "echo-hidden", "file=", "field-separator=", "field-separator-zero", "host=", "html",
    "list", "log-file=", "no-readline", "single-transaction", "output=", "port=", "pset=",
    "quiet", "record-separator=", "record-separator-zero", "single-step", "single-line",
    "tuples-only", "table-attr=", "username=", "set=", "variable=", "version",
    "no-password", "password", "expanded", "no-psqlrc", "help", "csv",
]  # fmt: skip
CONNECTION = {"-h", "-p", "-U", "-d", "--host", "--port", "--username", "--dbname"}

flags = st.one_of(
    st.sampled_from([f"-{letter}" for letter in LETTERS if letter != ":"]),
    st.sampled_from([f"--{name.rstrip('=')}" for name in LONG]),
    st.sampled_from(["--", "-", "", "host=evil", "-f", "-c", "x", "a=b", "ON_ERROR_STOP=1"]),
    st.builds(lambda name, n: f"--{name}"[: n + 2], st.sampled_from(LONG), st.integers(0, 12)),
    st.builds("-{}{}".format, st.text(LETTERS + "-=", max_size=3), st.text("hpx=-1", max_size=3)),
    st.builds("--{}={}".format, st.sampled_from([*LONG, "", "x"]), st.sampled_from(["", "h=e"])),
)


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


@given(st.lists(flags, max_size=6))
@settings(deadline=None)
def test_what_is_accepted_is_read_as_psql_reads_it(args):
    """Our reading of the arguments as given agrees with getopt's."""
    given_args = [arg for arg in args if arg]  # getopt takes an empty argument for a word
    with contextlib.suppress(InvalidArgument):
        ours = [option.value or "" for option in options.parse(given_args)]
        theirs, positional = getopt.gnu_getopt(given_args, LETTERS, LONG)
        assert positional == []
        assert ours == [value for _, value in theirs]
