"""Scripts as psql would follow them: includes, statements, notes, lasting settings."""

import pytest

from sqlrs_engine.prepare.psql.interpreter.session import SessionStart


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
def test_programs_and_files_of_the_server_are_noted(read, script, note):
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
def test_text_that_only_looks_like_programs_or_server_files_is_not_noted(read, script):
    assert read(script).notes == ()


AMBIGUOUS = "select 'a\\';\n\\i x.sql\n';\n"


def test_settings_of_the_server_decide_how_a_script_is_read(read):
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
def test_a_setting_that_outlasts_the_session_is_unknown_to_the_next_step(read, statement):
    first = read(statement)
    assert first.volatile is None
    following = read(AMBIGUOUS, start=first.next_start)
    assert "standard_conforming_strings" in following.volatile
    assert read("select 'a';\n\\i x.sql\n", start=first.next_start).volatile is None


def test_a_setting_of_the_session_ends_with_it(read):
    first = read("set standard_conforming_strings = off;")
    assert read(AMBIGUOUS, start=first.next_start).files


def test_a_command_is_one_backslash_command_or_plain_sql(read):
    assert read("\\i x.sql", kind="command").files
    assert read("select 1; \\i x.sql", kind="command").files == ()
    assert read("\\set f x.sql \\i :f", kind="command").files == ()
    assert read("copy t from '/x'", kind="command").notes


def test_a_step_has_at_most_20_notes(read):
    assert len(read("\n".join(f"\\set v{n} `date`" for n in range(100))).notes) == 20


def test_the_error_for_a_recursive_include_names_the_chain(work):
    work.write("main.sql", "\\i a.sql\n")
    work.write("a.sql", "select 1;\n\\i main.sql\n")
    message, details = work.refusal()
    root = work.root
    assert message == "recursive include"
    assert details.endswith(f"{root}/a.sql:2: {root}/main.sql → {root}/a.sql → {root}/main.sql")


def test_recursive_includes_by_ever_longer_paths_are_refused(work):
    work.write("sub/main.sql", "\\ir ../sub/main.sql\n")
    assert work.refusal("sub/main.sql")[0] == "recursive include"


def test_includes_may_be_99_deep(work):
    for number in range(98):
        work.write(f"{number}.sql", f"\\ir {number + 1}.sql\n")
    work.write("98.sql", "select 1;\n")
    assert len(work.content("0.sql").files) == 99


def test_including_a_file_twice_is_no_recursion(work):
    work.write("x.sql", "select 1;\n")
    work.write("main.sql", "\\i x.sql\n\\i x.sql\n")
    assert work.reads() == ["main.sql", "x.sql", "x.sql"]
