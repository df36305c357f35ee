"""psql's options: parsed as psql does, or refused."""

import contextlib
import getopt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.psql_options import LETTERS, LONG, flags

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql import options


def refusal(*args):
    with pytest.raises(InvalidArgument) as caught:
        list(options.parse(args))
    return caught.value.message, caught.value.details


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
def test_connection_options_are_refused(args):
    assert refusal(*args) == ("connection flags are not allowed", args[0])


def test_connection_options_after_others_are_refused():
    assert refusal("-c", "select 1", "-q", "-Xd", "x")[1] == "-Xd"


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (["mydb"], "mydb"),
        (["-c", "select 1", "host=elsewhere"], "host=elsewhere"),
        (["-"], "-"),
        (["-q", "postgres://elsewhere/db"], "postgres://elsewhere/db"),
    ],
)
def test_positional_arguments_are_refused(args, word):
    assert refusal(*args) == ("positional database arguments are not allowed", word)


@pytest.mark.parametrize("flag", ["-v", "--set", "--variable"])
def test_a_variable_option_needs_a_value(flag):
    assert refusal("-c", "x", flag) == ("missing value for variable flag", flag)


def test_an_empty_variable_is_refused():
    assert refusal("--set=") == ("missing value for variable flag", "--set")


@pytest.mark.parametrize("args", [["-f"], ["--file"], ["--file="], ["--fil"]])
def test_a_file_option_needs_a_value(args):
    message, details = refusal(*args)
    assert message == "missing value for file flag"
    assert details in ("-f", args[0].rstrip("="))


@pytest.mark.parametrize("args", [["-c"], ["--command"], ["--command="], ["-qc"]])
def test_a_command_option_needs_a_value(args):
    assert refusal(*args)[0] == "missing value for command flag"


def test_other_options_need_their_values():
    assert refusal("-P") == ("missing value for flag", "-P")
    assert refusal("--pset") == ("missing value for flag", "--pset")


def test_nul_characters_are_refused():
    for args in (["-c", "select 1\0"], ["-v", "a=\0"], ["-f", "/a\0b"]):
        assert refusal(*args) == ("arguments must not contain a NUL character", None)


@pytest.mark.parametrize("flag", ["-?", "-V", "-l", "--help", "--help=commands", "--list", "-Xl"])
def test_options_that_keep_psql_from_running_are_refused(flag):
    assert refusal(flag) == ("flags that keep psql from running are not allowed: remove them", flag)


@pytest.mark.parametrize("flag", ["-s", "-W", "--single-step", "--password", "-qs"])
def test_options_that_need_a_terminal_are_refused(flag):
    assert refusal(flag) == ("interactive flags are not allowed: remove them", flag)


@pytest.mark.parametrize("flag", ["-@", "--nonsense", "--nonsense=1", "--=host=x", "-q-", "-X-c"])
def test_options_that_psql_does_not_have_are_refused(flag):
    assert refusal(flag, "-c", "x") == ("psql has no such flag: see psql --help", flag)


@pytest.mark.parametrize("flag", ["--single", "--no-p", "--no", "--echo", "--field=x"])
def test_ambiguous_abbreviations_are_refused(flag):
    assert refusal(flag) == ("ambiguous flag: write it in full", flag)


@pytest.mark.parametrize("flag", ["--quiet=host=x", "--csv=host=x", "--single-t=x", "--no-psql=x"])
def test_values_of_options_without_one_are_refused(flag):
    assert refusal(flag) == ("the flag takes no value: remove the value", flag)


@given(st.lists(flags, max_size=6))
@settings(deadline=None)
def test_accepted_options_are_parsed_as_getopt_does(args):
    """Our reading of the arguments as given agrees with getopt's."""
    given_args = [arg for arg in args if arg]  # getopt takes an empty argument for a word
    with contextlib.suppress(InvalidArgument):
        ours = [option.value or "" for option in options.parse(given_args)]
        theirs, positional = getopt.gnu_getopt(given_args, LETTERS, LONG)
        assert positional == []
        assert ours == [value for _, value in theirs]
