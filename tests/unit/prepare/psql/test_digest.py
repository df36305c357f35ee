"""What a script amounts to: its text with that of all the files it reads."""

import os
import pwd
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql.arguments import Input
from sqlrs_engine.prepare.psql.input_digest import input_digest
from sqlrs_engine.prepare.psql.interpreter.content_digest import ContentDigest
from sqlrs_engine.prepare.psql.local_files import LocalFiles


class Workspace:
    """A directory of scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = LocalFiles()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def content(self, name="main.sql", **variables):
        path = self.root / name
        return input_digest(
            Input("file", str(path)),
            None,
            files=self.files,
            directory=path.parent,
            variables=variables,
        )

    def digest(self, name="main.sql", **variables):
        return self.content(name, **variables).digest

    def text(self, text, kind="stdin", directory=...):
        return input_digest(
            Input(kind, text if kind == "command" else ""),
            text if kind == "stdin" else None,
            files=self.files,
            directory=self.root if directory is ... else directory,
            variables={},
        )

    def refusal(self, name="main.sql", **variables):
        with pytest.raises(InvalidArgument) as caught:
            self.content(name, **variables)
        return caught.value.message, caught.value.details

    def reads(self, name="main.sql", **variables):
        return [str(f.path.relative_to(self.root)) for f in self.content(name, **variables).files]


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path)


@pytest.fixture
def tree(work):
    """Three scripts deep, with a data file at the bottom."""
    work.write("main.sql", "select 1;\n\\i sub/one.sql\n")
    work.write("sub/one.sql", "\\ir two.sql\n\\ir ../sub/two.sql\n")
    work.write("sub/two.sql", "create table t (a text);\n\\copy t from 'data.csv'\n")
    work.write("data.csv", "1\n")
    return work


def test_all_that_is_read_is_listed(tree):
    content = tree.content()
    assert [each.path.name for each in content.files] == [
        "main.sql",
        "one.sql",
        "two.sql",
        "data.csv",
        "two.sql",
        "data.csv",
    ]
    assert content.volatile is None


def test_a_moved_checkout_is_the_same(tree, tmp_path):
    before = tree.digest()
    tree.root.rename(tmp_path.with_name("moved"))
    tree.root = tmp_path.with_name("moved")
    try:
        assert tree.digest() == before
    finally:
        tree.root.rename(tmp_path)


def test_a_renamed_include_is_the_same(tree):
    before = tree.digest()
    (tree.root / "sub").rename(tree.root / "other")
    tree.write("main.sql", "select 1;\n\\i 'other/one.sql'\n")
    tree.write("other/one.sql", "\\ir two.sql\n\\ir ../other/two.sql\n")
    assert tree.digest() == before


@pytest.mark.parametrize("name", ["main.sql", "sub/one.sql", "sub/two.sql", "data.csv"])
def test_one_byte_anywhere_makes_a_difference(tree, name):
    before = tree.digest()
    path = tree.root / name
    path.write_bytes(path.read_bytes() + b" ")
    assert tree.digest() != before


def test_where_an_include_stands_makes_a_difference(work):
    work.write("x.sql", "select 'x';\n")
    texts = (
        "select 1;\n\\i x.sql\nselect 2;\n",
        "\\i x.sql\nselect 1;\nselect 2;\n",
        "select 1;\nselect 2;\n\\i x.sql\n",
        "select 1;\nselect 'x';\nselect 2;\n",
    )
    assert len({work.text(text).digest for text in texts}) == len(texts)


def test_included_text_is_not_the_same_as_text(work):
    work.write("a.sql", "select 1;\n")
    work.write("b.sql", "select 2;\n")
    work.write("ab.sql", "select 1;\nselect 2;\n")
    assert work.text("\\i a.sql\n\\i b.sql\n").digest != work.text("\\i ab.sql\n").digest


fields = st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=3)


@given(fields, fields)
@settings(deadline=None)
def test_no_two_sequences_look_the_same(one, other):
    first, second = ContentDigest(), ContentDigest()
    for record in one:
        first.add(*record)
    for record in other:
        second.add(*record)
    assert (first.hexdigest() == second.hexdigest()) == (one == other)


def test_tables_and_files_of_a_copy_are_told_apart(work):
    for name in ("t", "x"):
        work.write(name, "1\n")
    texts = ["\\copy xt from t\n", "\\copy tx from t\n", "\\copy t from t\n", "\\copy x from t\n"]
    assert len({work.text(text).digest for text in texts}) == len(texts)
    assert work.text("\\copy t from x\n").digest == work.text("\\copy t from t\n").digest


# -- where files are looked for --


def test_i_looks_in_the_working_directory_and_ir_beside_the_script(work):
    work.write("x.sql", "top")
    work.write("sub/x.sql", "beside")
    work.write("sub/i.sql", "\\i x.sql\n")
    work.write("sub/ir.sql", "\\ir x.sql\n")
    work.write("main.sql", "\\i sub/i.sql\n")
    assert work.reads() == ["main.sql", "sub/i.sql", "x.sql"]
    work.write("main.sql", "\\include sub/ir.sql\n")
    assert work.reads() == ["main.sql", "sub/ir.sql", "sub/x.sql"]
    work.write("main.sql", "\\include_relative sub/ir.sql\n")
    assert work.reads() == ["main.sql", "sub/ir.sql", "sub/x.sql"]


@pytest.mark.parametrize("command", ["\\i", "\\ir", "\\copy t from", "\\lo_import"])
@pytest.mark.parametrize("kind", ["stdin", "command"])
def test_without_a_file_the_working_directory_counts(work, command, kind):
    path = work.write("x.sql", "1\n")
    content = work.text(f"{command} x.sql", kind)
    assert [each.path for each in content.files] == [path]
    with pytest.raises(
        InvalidArgument, match="relative path without a work_dir: give a work_dir"
    ) as caught:
        work.text(f"{command} x.sql", kind, directory=None)
    where = "standard input:1" if kind == "stdin" else "-c:1"
    assert caught.value.details.startswith(where)
    assert work.text(f"{command} {path}", kind, directory=None).files


def test_cd_moves_the_working_directory(work):
    work.write("sub/deep/x.sql", "deep")
    work.write("main.sql", "\\cd sub\n\\cd deep\n\\i x.sql\n")
    assert work.reads() == ["main.sql", "sub/deep/x.sql"]
    work.write("main.sql", f"\\cd {work.root}/sub/deep\n\\i x.sql\n\\copy t from x.sql\n")
    assert work.reads() == ["main.sql", "sub/deep/x.sql", "sub/deep/x.sql"]
    work.write("main.sql", "\\cd :nowhere\n\\i x.sql\n")
    assert "in which directory" in work.content().volatile
    work.write("main.sql", "\\if :x\n\\cd sub\n\\endif\n\\copy t from x.sql\n")
    assert "in which directory" in work.content().volatile
    work.write("main.sql", f"\\cd :nowhere\n\\cd {work.root}/sub/deep\n\\i x.sql\n")
    assert work.content().volatile is None
    work.write("sub/deep/main.sql", "\\cd :nowhere\n\\ir x.sql\n")
    assert work.content("sub/deep/main.sql").volatile is None


def test_cd_alone_goes_home(work, monkeypatch):
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


def test_a_user_without_a_home_has_the_root(work, monkeypatch):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    work.write("main.sql", "\\i ~/no-such-file.sql\n")
    assert work.refusal()[1].endswith(" /no-such-file.sql")


# -- variables --


def test_variables_given_and_set(work):
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


@pytest.mark.parametrize(
    "script",
    [
        "\\i :f\n",
        "\\set f x.sql\n\\unset f\n\\i :f\n",
        "\\set f x.sql\nselect 'y.sql' as f \\gset\n\\i :f\n",
        "\\set f `echo x.sql`\n\\i :f\n",
        "\\set f x.sql\n\\set :g y.sql\n\\i :f\n",
        "\\getenv f F\n\\i :f\n",
        "\\i `echo x.sql`\n",
        "\\if :c\n\\set f x.sql\n\\else\n\\set f y.sql\n\\endif\n\\i :f\n",
        "\\lo_import :f\n",
        "\\set f x.sql\n\\prompt f\n\\ir :f\n",
    ],
)
def test_a_file_that_only_psql_can_find_makes_it_volatile(work, script):
    work.write("x.sql", "1\n")
    work.write("y.sql", "2\n")
    work.write("main.sql", script)
    reason = work.content().volatile
    assert reason.startswith(f"{work.root}/main.sql:")
    assert "only psql knows which file" in reason


def test_a_condition_outside_makes_the_assignments_inside_unknown(work):
    work.write("x.sql", "1\n")
    work.write("set.sql", "\\set f x.sql\n")
    work.write("main.sql", "\\if :c\n\\i set.sql\n\\endif\n\\i :f\n")
    assert work.content().volatile


def test_other_variables_do_not_matter(work):
    work.write("x.sql", "1\n")
    work.write("main.sql", "\\set\n\\set a\n\\set b :unknown\n\\unset c\n\\i x.sql\n\\i\n\\i -\n")
    content = work.content(v="\\d+")
    assert (content.volatile, len(content.files)) == (None, 2)


def test_a_variable_that_holds_a_command_makes_it_volatile(work):
    work.write("main.sql", "\\set a '\\\\i x.sql'\n:a\n")
    assert "holds a command" in work.content().volatile
    work.write("main.sql", ":a\n")
    assert "holds a command" in work.content(a="\\i x.sql").volatile


# -- files that are not there --


def test_a_missing_include_is_named_with_its_place(tree):
    (tree.root / "sub/two.sql").unlink()
    message, details = tree.refusal()
    root = tree.root
    assert message == "cannot read file"
    assert details.endswith(f"{root}/sub/one.sql:1: {root}/sub/two.sql")
    assert details.startswith(f"{root}/main.sql:2: ")


@pytest.mark.parametrize("command", ["\\copy t from", "\\lo_import", "\\i", "\\ir"])
def test_whatever_is_missing_is_named_with_its_place(work, command):
    work.write("main.sql", f"select 1;\n{command} nothing\n")
    place = f"{work.root}/main.sql:2: {work.root}/nothing"
    assert work.refusal() == ("cannot read file", place)


@pytest.mark.parametrize("name", ["/", "x" * 300, "caf\udce9"])
def test_names_that_cannot_be_files(work, name):
    text = b"\\i " + os.fsencode(name) + b"\n"
    work.write("main.sql", text)
    message, details = work.refusal()
    assert message == "cannot read file"
    details.encode()  # can be shown
    work.write("main.sql", b"\\if :c\n" + text + b"\\endif\n")
    if name != "/":
        assert work.content().volatile is None


def test_what_a_condition_guards_may_be_missing(work):
    work.write("main.sql", "\\if :c\n\\i x.sql\n\\copy t from y.csv\n\\endif\n")
    before = work.content()
    assert before.volatile is None
    work.write("x.sql", "\\i z.sql\n")  # which would not be read either
    assert work.digest() != before.digest
    work.write("main.sql", "\\if :c\n\\endif\n\\i x.sql\n")
    assert work.refusal()[0] == "cannot read file"


@pytest.mark.parametrize(
    "write",
    [
        "\\! make x.sql",
        "\\o x.sql",
        "\\o 'x.sql';",
        "\\o |cat > x.sql",
        "select 1 \\g x.sql",
        "select 1 \\gx (format=csv title='a b') x.sql",
        "\\w x.sql",
        "\\lo_export 1 x.sql",
        "\\copy t to x.sql",
        "\\copy (select 1) to program 'cat > x.sql'",
        "copy (select 1) to '/somewhere/x.sql';",
    ],
)
def test_what_the_script_writes_itself_is_no_input_and_is_not_reused(work, write):
    work.write("main.sql", f"{write}\n\\i x.sql\n\\i nothing.sql\n")
    reason = f"{work.root}/main.sql:2: {work.root}/x.sql is written by the script itself"
    assert work.content().volatile == reason
    work.write("x.sql", "select 1;\n")
    assert (work.reads(), work.content().volatile) == (["main.sql"], reason)


def test_what_a_program_may_write_may_be_missing_but_is_not_reused(work):
    work.write("main.sql", "\\! make\n\\i x.sql\n")
    assert (
        work.content().volatile == f"{work.root}/main.sql:2: {work.root}/x.sql does not exist yet"
    )
    work.write("x.sql", "select 1;\n")
    assert (work.reads(), work.content().volatile) == (["main.sql", "x.sql"], None)


# -- recursion --


def test_recursion_is_named_with_its_chain(work):
    work.write("main.sql", "\\i a.sql\n")
    work.write("a.sql", "select 1;\n\\i main.sql\n")
    message, details = work.refusal()
    root = work.root
    assert message == "recursive include"
    assert details.endswith(f"{root}/a.sql:2: {root}/main.sql → {root}/a.sql → {root}/main.sql")


def test_recursion_by_ever_longer_paths_ends(work):
    work.write("sub/main.sql", "\\ir ../sub/main.sql\n")
    assert work.refusal("sub/main.sql")[0] == "recursive include"


def test_deep_includes_that_end_are_fine(work):
    for number in range(98):
        work.write(f"{number}.sql", f"\\ir {number + 1}.sql\n")
    work.write("98.sql", "select 1;\n")
    assert len(work.content("0.sql").files) == 99


def test_the_same_file_twice_is_no_recursion(work):
    work.write("x.sql", "select 1;\n")
    work.write("main.sql", "\\i x.sql\n\\i x.sql\n")
    assert work.reads() == ["main.sql", "x.sql", "x.sql"]


def test_an_included_file_may_set_what_names_the_next(work):
    work.write("main.sql", "\\set dir a\n\\ir setup.sql\n\\i :dir/x.sql\n")
    work.write("setup.sql", "\\set dir b\n")
    work.write("a/x.sql", "1\n")
    work.write("b/x.sql", "2\n")
    assert work.reads() == ["main.sql", "setup.sql", "b/x.sql"]


def test_a_user_that_cannot_be_one_is_no_crash(work):
    work.write("main.sql", b"\\set f '~x\\000y/f.sql'\n\\i :f\n")
    assert work.refusal()[0] == "cannot read file"
    work.write("main.sql", b"\\i ~x\x00y/f.sql\n")
    assert "NUL" in work.content().volatile
