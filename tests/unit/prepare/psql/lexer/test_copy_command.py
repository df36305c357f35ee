r"""The arguments of ``\copy``: what psql takes for the file, the program or the stream."""

import pytest

from sqlrs_engine.prepare.psql.lexer.copy_command import parse_copy


@pytest.mark.parametrize(
    "arguments",
    [
        "t from d.csv",
        "t FROM d.csv",
        "t from 'd.csv'",
        "t from d.csv;",
        "t from d.csv csv header",
        "t from d.csv with (format csv)",
        "t(a,b) from d.csv",
        "t (a, b) from d.csv",
        't ("a)b", c)from d.csv',
        '"My ""table" from d.csv',
        "public.t from d.csv",
        'public . "t" (a) from d.csv',
        "binary t from d.csv",
        "binary from d.csv",
        "from from d.csv",
    ],
)
def test_the_file_that_a_copy_reads_is_found(arguments):
    source = parse_copy(arguments)
    assert source is not None
    assert (source.direction, source.file) == ("from", "d.csv")
    assert "d.csv" not in "".join(source.rest).replace("'d.csv'", "")


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        ("t from 'a b.csv'", "a b.csv"),
        ("t from 'it''s.csv'", "it's.csv"),
        ("t from 'a\\tb.csv'", "a\\tb.csv"),
        ("t from a\\tb.csv", "a\\tb.csv"),
        ("t from :file", ":file"),
        ("t from 'stdin'", "stdin"),
        ("t from ~/d.csv", "~/d.csv"),
        ("t from d'x'", "d"),
        ("t from stdin", None),
        ("t from STDIN csv", None),
        ("t from stdin;", None),
    ],
)
def test_a_file_name_in_a_copy_is_unquoted_but_not_expanded(arguments, file):
    source = parse_copy(arguments)
    assert source is not None
    assert source.file == file
    assert source.inline == (file is None)


@pytest.mark.parametrize(
    "arguments", ["", "t", "t from", "tfrom", "t (a", "(select a", "t from program cat", "t into x"]
)
def test_a_copy_that_psql_refuses_is_none(arguments):
    assert parse_copy(arguments) is None


@pytest.mark.parametrize(
    ("arguments", "direction", "file", "program"),
    [
        ("t to d.csv", "to", "d.csv", None),
        ("tfrom to d.csv", "to", "d.csv", None),
        ("(select 'from x', (a) from t) to 'd.csv' csv", "to", "d.csv", None),
        ("t to stdout", "to", None, None),
        ("t from pstdin", "from", None, None),
        ("t from program 'cat d.csv'", "from", None, "cat d.csv"),
        ("t TO PROGRAM 'cat > ''d.csv'''", "to", None, "cat > 'd.csv'"),
    ],
)
def test_a_copy_from_elsewhere_has_no_data_in_the_script(arguments, direction, file, program):
    copy = parse_copy(arguments)
    assert copy is not None
    assert (copy.direction, copy.file, copy.program) == (direction, file, program)
    assert not copy.inline


def test_the_rest_of_a_copy_omits_only_the_file_name():
    assert parse_copy("t from t csv").rest == ("t from ", " csv")
    assert parse_copy("xt from t").rest != parse_copy("tx from t").rest
