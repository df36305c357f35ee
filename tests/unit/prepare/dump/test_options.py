import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.dump.options import ALLOWED, RestoreOptions

parse = RestoreOptions.parse


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (["--no-owner"], ["--no-owner"]),
        (["-O"], ["--no-owner"]),
        (["-Ox"], ["--no-owner", "--no-privileges"]),
        (["--no-acl"], ["--no-privileges"]),
        (["--no-own"], ["--no-owner"]),
        (["-napp"], ["--schema=app"]),
        (["-n", "app"], ["--schema=app"]),
        (["-On", "app"], ["--no-owner", "--schema=app"]),
        (["--schema", "-x"], ["--schema=-x"]),
        (["--schema=a b"], ["--schema=a b"]),
        (["-s", "--"], ["--schema-only"]),
        (["", "-1"], ["--single-transaction"]),
        (["-e", "-v", "-j4", "--jobs", "8"], []),
    ],
)
def test_options_are_read_as_pg_restore_reads_them(given, meant):
    assert parse(given).arguments() == meant


@pytest.mark.parametrize("name", [name for name in ALLOWED if name not in ("if-exists", "section")])
def test_every_allowed_option_is_accepted(name):
    given = f"--{name}=data" if ALLOWED[name].takes_value else f"--{name}"
    assert parse([given]).has(name)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["-d", "x"], "connection"),
        (["--dbname=x"], "connection"),
        (["--db", "x"], "connection"),
        (["-Oh", "x"], "connection"),
        (["-p1"], "connection"),
        (["--username=x"], "connection"),
        (["-W"], "connection"),
        (["-f", "x"], "own cluster"),
        (["-l"], "own cluster"),
        (["-Fc"], "format"),
        (["-L", "list"], "--schema"),
        (["--filter=x"], "--schema"),
        (["--bogus"], "no such flag"),
        (["-Z"], "no such flag"),
        (["--no-s"], "ambiguous"),
        (["--", "prod.dump"], "name the dump in path"),
        (["prod.dump"], "name the dump in path"),
        (["--no-owner=1"], "takes no value"),
        (["-n"], "missing value"),
        (["--schema"], "missing value"),
        (["--section=all"], "pre-data, data, post-data"),
        (["--if-exists"], "--clean"),
        (["-as"], "exclude each other"),
        (["-C1"], "exclude each other"),
        (["-n", "a\0b"], "NUL"),
    ],
)
def test_other_options_are_refused_with_a_reason(given, reason):
    with pytest.raises(InvalidArgument, match=reason):
        parse(given)


def test_order_and_repetition_do_not_count():
    once = parse(["-n", "a", "-O", "-n", "b"])
    again = parse(["--no-owner", "--schema=b", "--schema=a", "--schema=b", "-j3"])
    assert once.canonical() == again.canonical()
    assert once.canonical() != parse(["-n", "a", "-O"]).canonical()


def test_plain_dumps_take_one_option_only():
    parse(["-1", "-v"]).check_plain()
    with pytest.raises(InvalidArgument, match="plain dump") as error:
        parse(["-1", "-O"]).check_plain()
    assert error.value.details == "--no-owner"


def test_options_need_their_version():
    parse(["--no-policies"]).check_version(18)
    with pytest.raises(InvalidArgument, match="needs pg_restore 18"):
        parse(["--no-policies"]).check_version(17)
