r"""Scripts, split into parts as psql itself reads them.

What the scripts here do was looked up by running the psql of PostgreSQL 15 and 18.
"""

import hashlib

import pytest

from sqlrs_engine.prepare.file_reads import printable
from sqlrs_engine.prepare.psql.lexer.parts import Command, Doubt, Statement, Text
from sqlrs_engine.prepare.psql.lexer.script import Script
from sqlrs_engine.prepare.psql.lexer.settings import LexerSettings


def parts(script, settings=LexerSettings):
    text = script if isinstance(script, bytes) else script.encode()
    return list(Script(text, lambda: text).parts(settings))


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
def test_an_include_in_quotes_or_comments_is_not_found(script):
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
def test_the_data_of_a_copy_is_skipped(copy):
    script = f"{copy}\n{DATA}\\i x.sql\n"
    assert [each for each in reads(script) if each[0] != "copy"] == FOUND
    crlf = script.replace("\n", "\r\n")
    assert [each for each in reads(crlf) if each[0] != "copy"] == FOUND


def test_two_copies_on_one_line_have_their_data_one_after_the_other():
    assert reads(f"copy t from stdin; copy u from stdin;\n{DATA}{DATA}\\i x.sql\n") == FOUND


@pytest.mark.parametrize("source", ["pstdin", "program 'cat'", "'stdin'"])
def test_a_copy_from_elsewhere_has_no_data_in_the_script(source):
    assert ("i", "x.sql") in reads(f"\\copy t from {source}\n\\i x.sql\n\\.\n")


@pytest.mark.parametrize("name", ["i", "include", "ir", "include_relative", "lo_import"])
def test_every_command_that_reads_a_file_is_found(name):
    assert reads(f"\\{name} x.sql\n") == [(name, "x.sql")]


def test_lines_of_a_script_are_counted_from_one():
    script = "select 1;\n\n/* \n */ \\i a.sql\nselect '\n\n'; \\i b.sql\n\\copy t from c.csv\n"
    assert [(c.arguments, c.line) for c in commands(script)] == [
        ("a.sql", 4),
        ("b.sql", 7),
        ("t from c.csv", 8),
    ]


def test_a_script_that_reads_nothing_is_a_single_text():
    script = b"select 'a';\n\\echo b \\\\ \\pset null x\n"
    assert parts(script) == [Text(hashlib.sha256(script).hexdigest())]


def test_bytes_that_are_not_utf8_are_kept_in_arguments():
    script = b"\\i caf\xe9.sql\n"
    (name, arguments) = reads(script)[0]
    assert (name, arguments.encode("utf-8", "surrogateescape")) == ("i", b"caf\xe9.sql")
    assert printable(arguments) == "caf\ufffd.sql"


def parts_with(script, settings):
    return [part for part in parts(script, lambda: settings) if not isinstance(part, Text)]


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
    found = parts_with("select :v;\n\\i x.sql\n", settings)
    assert [type(part) for part in found] == ([] if whole else [Doubt]) + [Command]
    assert (
        parts_with("select :'v', :\"v\", x::v;\n", LexerSettings(syntax_variables=(("v", value),)))
        == []
    )


@pytest.mark.parametrize(
    "word", ["copy from ", "copy from\n", "copy x from to ", "to/* ", "from--"]
)
def test_a_script_full_of_words_of_copy_is_read_in_linear_time(word):
    """A search that tries every pair of words would take minutes here."""
    assert len(parts("select 1; " + word * 30_000)) == 1


@pytest.mark.parametrize(
    "between",
    [" ", " " * 300, " -- here\n ", " /* a * b */", " program ", " program /**/ ", " E"],
    ids=repr,
)
def test_a_copy_from_a_file_on_the_server_is_found(between):
    statement, _ = parts(f"copy t from{between}'/x';")
    assert isinstance(statement, Statement)
    assert statement.server_files


def test_the_rest_of_the_line_before_the_data_of_a_copy_is_read():
    script = f"copy t from stdin; \\i y.sql\n{DATA}\\i x.sql\n"
    assert reads(script) == [("i", "y.sql"), *FOUND]


def test_a_string_may_span_the_data_of_a_copy():
    assert reads(f"copy t from stdin; select '\n{DATA}'; \\i x.sql\n") == FOUND


def test_the_data_of_a_copy_is_skipped_in_single_line_mode():
    found = parts_with(f"copy t from stdin\n{DATA}\\i x.sql\n", LexerSettings(single_line=True))
    assert [part.arguments for part in found] == ["x.sql"]
