r"""What a script does beyond reading files: connections, notes, settings that outlast it."""

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql.arguments import Input
from sqlrs_engine.prepare.psql.input_digest import input_digest
from sqlrs_engine.prepare.psql.interpreter.session import SessionStart
from sqlrs_engine.prepare.psql.local_files import LocalFiles


@pytest.fixture
def read(tmp_path):
    (tmp_path / "x.sql").write_text("select 1;\n")

    def content(script, kind="stdin", **given):
        return input_digest(
            Input(kind, script if kind == "command" else ""),
            script if kind == "stdin" else None,
            files=LocalFiles(),
            directory=tmp_path,
            variables=given.pop("variables", {}),
            **given,
        )

    return content


@pytest.mark.parametrize(
    "arguments",
    [
        "- - elsewhere",
        "db sqlrs 'elsewhere' 5432;",
        "db - - 5432",
        "host=elsewhere",
        "'dbname=db port = 5432'",
        '"service=prod"',
        "postgresql://elsewhere/db",
        "postgres://me@:5432/db",
        "postgresql:///db?host=elsewhere",
        "-reuse-previous=on hostaddr=10.0.0.1",
        ":target",
    ],
)
def test_another_server_is_refused(read, arguments):
    for command in ("c", "connect"):
        with pytest.raises(InvalidArgument, match="must not connect to another server") as caught:
            read(f"select 1;\n\\{command} {arguments}\n", variables={"target": "host=prod"})
        assert caught.value.details.startswith(f"standard input:2: \\{command} ")
    assert read(f"\\if false\n\\c {arguments}\n\\endif\n").volatile is None


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "db",
        "db;",
        "- me",
        "db - - -",
        "- - :HOST :PORT",
        ":'DBNAME' :USER",
        "'dbname=db user=me'",
        "-reuse-previous=off dbname=db",
        "postgresql:///db",
        ":target",
    ],
)
def test_the_same_server_is_not(read, arguments):
    assert read(f"\\c {arguments}\n", variables={"target": "db"}).volatile is None


def test_a_server_that_only_psql_knows_makes_it_volatile(read):
    assert "which server" in read("select 'x' as db \\gset\n\\c :db\n").volatile
    assert "which server" in read("\\c db - `hostname`\n").volatile


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("\\set v `date`\n", "1: the output of a program: \\set v `date`"),
        ("\\if `test -f x`\n\\endif\n", "1: the output of a program: \\if `test -f x`"),
        ("\\copy t from program 'ls'\n", "1: the output of a program: ls"),
        (
            "-- c\ncopy t from '/data/t.csv';\n",
            "2: files of the server: copy t from '/data/t.csv';",
        ),
        (
            "copy t(a) from\nprogram 'ls';\n",
            "2: files of the server: copy t(a) from program 'ls';",
        ),
        (
            "select pg_read_file('x');",
            "1: files of the server: select pg_read_file('x');",
        ),
        (
            "do $$ begin perform lo_import('x'); end $$;",
            "1: files of the server: do $$ begin perform lo_import('x'); end $$;",
        ),
    ],
)
def test_what_comes_from_outside_is_noted(read, script, note):
    content = read(script)
    assert (content.notes, content.volatile) == ((f"standard input:{note}",), None)


@pytest.mark.parametrize(
    "script",
    [
        "\\echo `date`\n",
        "\\set v '`date`'\n",
        "select extract(day from '2020-01-01'::date);",
        "-- copy t from 'x'\nselect 'copy t from ''x''';",
        "copy t from stdin;\ncopy t from 'x';\n\\.\n",
        "\\if false\n\\set v `date`\ncopy t from 'x';\n\\endif\n",
    ],
)
def test_nothing_else_is(read, script):
    assert read(script).notes == ()


AMBIGUOUS = "select 'a\\';\n\\i x.sql\n';\n"


def test_settings_of_the_server_count(read):
    assert read(AMBIGUOUS).files
    off = SessionStart.of({"Standard_Conforming_Strings": "off"})
    assert read(AMBIGUOUS, start=off).files == ()
    masked = SessionStart.of({"client_encoding": "big5"})
    assert read("select E'\xa5\\'';\n\\i x.sql\n", start=masked).volatile is None


@pytest.mark.parametrize(
    "statement",
    [
        "alter database postgres set standard_conforming_strings = off;",
        "alter role sqlrs set standard_conforming_strings to off",
        "do $$ begin execute 'alter system set standard_conforming_strings = off'; end $$;",
    ],
)
def test_what_outlasts_a_session_is_known_to_the_next_step(read, statement):
    first = read(statement)
    assert first.volatile is None
    following = read(AMBIGUOUS, start=first.next_start)
    assert "standard_conforming_strings" in following.volatile
    assert read("select 'a';\n\\i x.sql\n", start=first.next_start).volatile is None


def test_what_a_session_sets_is_not(read):
    first = read("set standard_conforming_strings = off;")
    assert read(AMBIGUOUS, start=first.next_start).files


def test_a_command_is_one_backslash_command_or_plain_sql(read):
    assert read("\\i x.sql", kind="command").files
    assert read("select 1; \\i x.sql", kind="command").files == ()
    assert read("\\set f x.sql \\i :f", kind="command").files == ()
    assert read("copy t from '/x'", kind="command").notes


def test_what_the_server_reads_is_not_written(read):
    content = read("copy t from '/somewhere/x.sql';\n\\i x.sql\n")
    assert (len(content.files), content.volatile) == (1, None)
    with pytest.raises(InvalidArgument, match="cannot read file"):
        read("copy t from '/somewhere/x.sql';\n\\i nothing.sql\n")


def test_notes_are_few(read):
    assert len(read("\n".join(f"\\set v{n} `date`" for n in range(100))).notes) == 20


def test_files_that_options_write_are_no_inputs(read):
    content = read("\\i x.sql\n", outputs=("x.sql",))
    assert content.files == ()
    assert content.volatile.endswith("x.sql is written by the script itself")
