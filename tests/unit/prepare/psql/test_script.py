r"""Where psql scripts read other files: found as psql itself reads them.

What the scripts here do was looked up by running the psql of PostgreSQL 15 and 18.
"""

import hashlib

import pytest

from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.psql.lexer.copy_command import parse_copy
from sqlrs_engine.prepare.psql.lexer.meta_commands import expand, split_arguments
from sqlrs_engine.prepare.psql.lexer.parts import Command, Doubt, Statement, Text
from sqlrs_engine.prepare.psql.lexer.script import Script
from sqlrs_engine.prepare.psql.lexer.settings import LexerSettings


def parts(script, mode=LexerSettings):
    text = script if isinstance(script, bytes) else script.encode()
    return list(Script(text, lambda: text).parts(mode))


def reads(script):
    """Return the names and arguments of the commands that read files."""
    wanted = ("i", "ir", "include", "include_relative", "copy", "lo_import")
    return [
        (part.name, part.arguments)
        for part in parts(script)
        if isinstance(part, Command) and part.name in wanted
    ]


def commands(script):
    return [part for part in parts(script) if isinstance(part, Command)]


FOUND = [("i", "x.sql")]


@pytest.mark.parametrize(
    "script",
    [
        "\\i x.sql",
        "\\i x.sql\n",
        "\\i x.sql\r\n",
        "\\i\tx.sql  \n",
        "select 1;\n\\i x.sql\nselect 2;\n",
        "select 1; \\i x.sql\n",
        "select 1 \\i x.sql\n",
        "  \\i x.sql\n",
        "\\set a 1 \\i x.sql\n",
        "\\echo hello \\i x.sql\n",
        "\\if true \\i x.sql \\endif\n",
        "\\set a 1 \\\\ select 1; \\i x.sql\n",
        "\\i x.sql \\\\ select 1;\n",
        "\\set a 'b\\\\c'\n\\i x.sql\n",
        "\\set a 'b\\'c'\n\\i x.sql\n",
        "\\echo `echo '\\\\'`\n\\i x.sql\n",
        "\\echo it's\n\\i x.sql\n",
        "\\! echo it's\n\\i x.sql\n",
        "\\o | sed 's/\\\\//'\n\\i x.sql\n",
        "select 1\\:\\:text; \\i x.sql\n",
        "select 1 \\; select 2; \\i x.sql\n",
        "select 'it''s';\n\\i x.sql\n",
        "select E'it\\'s';\n\\i x.sql\n",
        "select 'a\\';\n\\i x.sql\n",
        "select $$it's$$, $tag$ $$ it's $tag$;\n\\i x.sql\n",
        'select 1 as "it\'s";\n\\i x.sql\n',
        "-- it's\n\\i x.sql\n",
        "/* it's /* nested */ it's */ \\i x.sql\n",
        "select a$$ from t; \\i x.sql\n$$",
        "select :'name', :\"name\", :{?name};\n\\i x.sql\n",
        "create function f() returns int begin atomic select 1; end;\n\\i x.sql\n",
        "select 'copy t from stdin';\n\\i x.sql\n\\.\n",
        "comment on table t is 'see copy from stdin';\n\\i x.sql\n\\.\n",
        "/* copy t from stdin */ select 1;\n\\i x.sql\n\\.\n",
        "copy t from 'stdin';\n\\i x.sql\n\\.\n",
        "copy t to stdout;\n\\i x.sql\n\\.\n",
        "copy t from stdin\n\\r\nselect 1;\n\\i x.sql\n\\.\n",
        "copy t from stdin; \\i x.sql\nO'Brien\n\\.\n",
    ],
)
def test_an_include_is_found(script):
    assert reads(script) == FOUND


@pytest.mark.parametrize(
    "script",
    [
        "select '\\i x.sql';",
        "select '\n\\i x.sql\n';",
        "select E'\\'\n\\i x.sql\n';",
        "select $$\n\\i x.sql\n$$;",
        "select $body$\n\\i x.sql\n$$ $other$ $body$;",
        'select 1 as "\n\\i x.sql\n";',
        "-- \\i x.sql\n",
        "select 1; -- \\i x.sql\n",
        "/* \\i x.sql */",
        "/* /* */ \\i x.sql */",
        "\\echo '\\i x.sql'\n",
        "\\! echo a \\\\ \\i x.sql\n",
        "\\o |cat \\\\ \\i x.sql\n",
        "\\ix.sql\n",
        "\\include_x.sql\n",
        "\\info \\\\ select '\\i x.sql';",
        "\\",
        "\\\n",
        "select '\\i x.sql",
        "select $$\\i x.sql",
        "/* \\i x.sql",
        '"\\i x.sql',
    ],
)
def test_no_include_is_found(script):
    assert reads(script) == []


DATA = "O'Brien\\i data.sql\n\\i data.sql\n\\N\n\\.\n"


@pytest.mark.parametrize(
    "copy",
    [
        "copy t from stdin;",
        "COPY t (a, b)\nFROM\nSTDIN\nWITH (FORMAT csv);",
        "/* c */ copy t from /* c */ stdin;",
        "-- c\ncopy t from stdin;",
        'copy "it\'s" from stdin;',
        "copy public.t from stdin; select 1;",
        "select 1 \\; copy t from stdin;",
        "copy t from stdin \\g",
        "\\set a 1\ncopy t from stdin;",
        "select 1 \\gset\ncopy t from stdin;",
        "\\copy t from stdin",
        "\\copy t (a) FROM STDIN with (format csv)",
    ],
)
def test_data_of_copy_are_passed_over(copy):
    script = f"{copy}\n{DATA}\\i x.sql\n"
    assert [each for each in reads(script) if each[0] != "copy"] == FOUND
    crlf = script.replace("\n", "\r\n")
    assert [each for each in reads(crlf) if each[0] != "copy"] == FOUND


def test_two_copies_on_one_line_have_their_data_one_after_the_other():
    assert reads(f"copy t from stdin; copy u from stdin;\n{DATA}{DATA}\\i x.sql\n") == FOUND


@pytest.mark.parametrize("source", ["pstdin", "program 'cat'", "'stdin'"])
def test_other_copies_have_no_data_in_the_script(source):
    assert ("i", "x.sql") in reads(f"\\copy t from {source}\n\\i x.sql\n\\.\n")


@pytest.mark.parametrize("name", ["i", "include", "ir", "include_relative", "lo_import"])
def test_every_command_that_reads(name):
    assert reads(f"\\{name} x.sql\n") == [(name, "x.sql")]


def test_lines_are_counted_from_one():
    script = "select 1;\n\n/* \n */ \\i a.sql\nselect '\n\n'; \\i b.sql\n\\copy t from c.csv\n"
    assert [(c.arguments, c.line) for c in commands(script)] == [
        ("a.sql", 4),
        ("b.sql", 7),
        ("t from c.csv", 8),
    ]


def test_a_script_that_reads_nothing_is_one_piece_of_text():
    script = b"select 'a';\n\\echo b \\\\ \\pset null x\n"
    assert parts(script) == [Text(hashlib.sha256(script).hexdigest())]


def test_invalid_utf8_is_kept():
    script = b"\\i caf\xe9.sql\n"
    (name, arguments) = reads(script)[0]
    assert (name, arguments.encode("utf-8", "surrogateescape")) == ("i", b"caf\xe9.sql")
    assert printable(arguments) == "caf\ufffd.sql"


# -- words --


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
def test_what_a_word_means(word, meaning):
    found = expand(word, {"dir": "/w"})
    assert (found and printable(found)) == meaning


def test_words_are_split_at_blanks_outside_quotes():
    assert split_arguments(" a 'b c' \"d e\"`f g`  h") == ["a", "'b c'", '"d e"`f g`', "h"]


# -- \copy --


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
def test_the_file_that_a_copy_reads(arguments):
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
def test_names_of_files_in_a_copy(arguments, file):
    source = parse_copy(arguments)
    assert source is not None
    assert source.file == file
    assert source.inline == (file is None)


@pytest.mark.parametrize(
    "arguments", ["", "t", "t from", "tfrom", "t (a", "(select a", "t from program cat", "t into x"]
)
def test_copies_that_psql_refuses(arguments):
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
def test_other_copies_have_no_lines_in_the_script(arguments, direction, file, program):
    copy = parse_copy(arguments)
    assert copy is not None
    assert (copy.direction, copy.file, copy.program) == (direction, file, program)
    assert not copy.inline


def test_only_the_name_is_left_out_of_the_rest():
    assert parse_copy("t from t csv").rest == ("t from ", " csv")
    assert parse_copy("xt from t").rest != parse_copy("tx from t").rest


# -- modes --


def reading(script, mode):
    return [part for part in parts(script, lambda: mode) if not isinstance(part, Text)]


@pytest.mark.parametrize(
    ("value", "whole"),
    [
        ("'it''s'", True),
        ('"My ""Schema"""', True),
        ("now()", True),
        ("(1, (2))", False),  # it could be: only pairs without others are looked for
        ("'a'::text", True),
        ("'a\\'", True),
        ("E'a\\'", False),
        ("'", False),
        ('"', False),
        ("(", False),
        (")(", False),
        ("$$", False),
        ("--", False),
        ("/*", False),
        ("select 1;", False),
        (":other", False),
        ("\\echo", False),
    ],
)
def test_a_variable_that_is_part_of_a_statement_is_doubted(value, whole):
    settings = LexerSettings(syntax_variables=(("v", value),))
    found = reading("select :v;\n\\i x.sql\n", settings)
    assert [type(part) for part in found] == ([] if whole else [Doubt]) + [Command]
    assert (
        reading("select :'v', :\"v\", x::v;\n", LexerSettings(syntax_variables=(("v", value),)))
        == []
    )


def test_a_script_is_read_again_where_its_mode_differs(tmp_path):
    text = b"\\echo a\n\\set x 1\nselect 'a\\';\n\\i x.sql\n';\n\\i y.sql\n"
    loads = []
    script = Script(text, lambda: loads.append(1) or text)
    modes = {"before": LexerSettings(), "after": LexerSettings(standard_conforming_strings=False)}

    def names(after):
        found = []
        for part in script.parts(lambda: modes[after if found else "before"]):
            if isinstance(part, Command):
                found.append(part.arguments)
        return found

    assert (names("before"), len(loads)) == (["x 1", "x.sql"], 0)
    assert (names("after"), len(loads)) == (["x 1", "y.sql"], 1)
    assert (names("after"), len(loads)) == (["x 1", "y.sql"], 1)
    assert (names("before"), len(loads)) == (["x 1", "x.sql"], 2)


@pytest.mark.parametrize(
    "word", ["copy from ", "copy from\n", "copy x from to ", "to/* ", "from--"]
)
def test_many_words_of_a_copy_take_no_longer_than_others(word):
    """A search that tries every pair of them takes minutes."""
    assert len(parts("select 1; " + word * 30_000)) == 1


@pytest.mark.parametrize(
    "between",
    [" ", " " * 300, " -- here\n ", " /* a * b */", " program ", " program /**/ ", " E"],
    ids=repr,
)
def test_a_copy_of_the_servers_files_is_found(between):
    statement, _ = parts(f"copy t from{between}'/x';")
    assert isinstance(statement, Statement)
    assert statement.server_files
