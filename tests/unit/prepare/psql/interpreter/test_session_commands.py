r"""The commands that change the session: ``\cd``, ``\set``, ``\connect`` and their kin."""

import pwd

import pytest

from sqlrs_engine.errors import InvalidArgument


def test_cd_moves_the_working_directory(work):
    work.write("sub/deep/x.sql", "deep")
    work.write("main.sql", "\\cd sub\n\\cd deep\n\\i x.sql\n")
    assert work.reads() == ["main.sql", "sub/deep/x.sql"]
    work.write("main.sql", f"\\cd {work.root}/sub/deep\n\\i x.sql\n\\copy t from x.sql\n")
    assert work.reads() == ["main.sql", "sub/deep/x.sql", "sub/deep/x.sql"]
    work.write("main.sql", "\\cd :nowhere\n\\i x.sql\n")
    assert "in which directory" in work.content().unnamed[0]
    work.write("main.sql", "\\if :x\n\\cd sub\n\\endif\n\\copy t from x.sql\n")
    assert "in which directory" in work.content().unnamed[0]
    work.write("main.sql", f"\\cd :nowhere\n\\cd {work.root}/sub/deep\n\\i x.sql\n")
    assert work.content().volatile is None
    work.write("sub/deep/main.sql", "\\cd :nowhere\n\\ir x.sql\n")
    assert work.content("sub/deep/main.sql").volatile is None


def test_cd_without_an_argument_and_a_tilde_lead_home(work, monkeypatch):
    entry = pwd.struct_passwd(("u", "x", 0, 0, "", str(work.root / "home"), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: entry)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: {"me": entry}[name])
    monkeypatch.setenv("HOME", "/elsewhere")
    work.write("home/x.sql", "1\n")
    for text in ("\\cd\n\\i x.sql", "\\i ~/x.sql", "\\copy t from ~/x.sql", "\\i ~me/x.sql"):
        work.write("main.sql", text)
        assert work.reads() == ["main.sql", "home/x.sql"]
    work.write("main.sql", "\\i ~nobody-of-that-name/x.sql\n")
    assert work.refusal()[0] == "cannot read file"


def test_the_home_of_an_unknown_user_is_the_root_directory(work, monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    work.write("main.sql", "\\i ~/no-such-file.sql\n")
    assert work.refusal()[1].endswith(" /no-such-file.sql")


def test_variables_in_file_names_are_expanded(work):
    work.write("a b.sql", "1\n")
    for script in (
        "\\i ':dir'/x\n",  # no expansion within quotes
        "\\set f 'a b.sql'\n\\i :f\n",
        "\\set n b \\set f 'a ' :n .sql\n\\i :f\n",
    ):
        work.write("main.sql", script)
        if ":dir" in script:
            assert work.refusal()[0] == "cannot read file"
        else:
            assert work.reads() == ["main.sql", "a b.sql"]
    work.write("main.sql", "\\i :dir'/a b.sql'\n")
    assert work.reads(dir=str(work.root)) == ["main.sql", "a b.sql"]


def test_assignments_of_an_include_in_an_unknown_branch_are_unknown(work):
    work.write("x.sql", "1\n")
    work.write("set.sql", "\\set f x.sql\n")
    work.write("main.sql", "\\if :c\n\\i set.sql\n\\endif\n\\i :f\n")
    assert work.content().unnamed


def test_unknown_variables_that_name_no_file_do_not_matter(work):
    work.write("x.sql", "1\n")
    work.write("main.sql", "\\set\n\\set a\n\\set b :unknown\n\\unset c\n\\i x.sql\n\\i\n\\i -\n")
    content = work.content(v="\\d+")
    assert (content.volatile, len(content.files)) == (None, 2)


def test_a_variable_that_holds_a_command_makes_the_step_volatile(work):
    work.write("main.sql", "\\set a '\\\\i x.sql'\n:a\n")
    assert "holds a command" in work.content().volatile
    work.write("main.sql", ":a\n")
    assert "holds a command" in work.content(a="\\i x.sql").volatile


def test_an_included_file_may_set_what_names_the_next(work):
    work.write("main.sql", "\\set dir a\n\\ir setup.sql\n\\i :dir/x.sql\n")
    work.write("setup.sql", "\\set dir b\n")
    work.write("a/x.sql", "1\n")
    work.write("b/x.sql", "2\n")
    assert work.reads() == ["main.sql", "setup.sql", "b/x.sql"]


def test_a_tilde_with_an_impossible_user_name_is_no_crash(work):
    work.write("main.sql", b"\\set f '~x\\000y/f.sql'\n\\i :f\n")
    assert work.refusal()[0] == "cannot read file"
    work.write("main.sql", b"\\i ~x\x00y/f.sql\n")
    assert "NUL" in work.content().volatile


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
def test_a_connection_to_another_server_is_refused(read, arguments):
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
def test_a_connection_to_the_same_server_is_allowed(read, arguments):
    assert read(f"\\c {arguments}\n", variables={"target": "db"}).volatile is None


def test_a_connection_that_only_psql_knows_makes_the_step_volatile(read):
    assert "which server" in read("select 'x' as db \\gset\n\\c :db\n").volatile
    assert "which server" in read("\\c db - `hostname`\n").volatile
