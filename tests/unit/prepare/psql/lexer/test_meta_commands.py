"""The arguments of backslash commands: how they are split, and what they stand for."""

import pytest

from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.psql.lexer.meta_commands import expand, split_arguments


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("x.sql", "x.sql"),
        ("'a b.sql'", "a b.sql"),
        ("'it''s'", "it's"),
        ("'it\\'s'", "it's"),
        ("'a\\tb\\n'", "a\tb\n"),
        ("'\\303\\251\\xc3\\xa9'", "éé"),
        ("'\\q'", "q"),
        ('"a b"', '"a b"'),
        (":dir/x.sql", "/w/x.sql"),
        (":dir':dir'", "/w:dir"),
        ('":dir"', '":dir"'),
        (":unknown", None),
        (":'dir'", None),
        (':"dir"', None),
        (":{?dir}", None),
        ("`pwd`/x.sql", None),
        ("''", ""),
    ],
)
def test_an_argument_is_unquoted_and_expanded_as_psql_does(word, meaning):
    found = expand(word, {"dir": "/w"})
    assert (found and printable(found)) == meaning


def test_arguments_are_split_at_blanks_outside_quotes():
    assert split_arguments(" a 'b c' \"d e\"`f g`  h") == ["a", "'b c'", '"d e"`f g`', "h"]
