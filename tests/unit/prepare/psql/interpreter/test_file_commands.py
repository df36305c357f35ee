"""The commands that read and write files: where these are looked for, and if they are absent."""

import os

import pytest

from sqlrs_engine.errors import InvalidArgument


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
def test_commands_and_standard_input_look_in_the_working_directory(work, command, kind):
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
def test_a_file_that_only_psql_can_find_has_to_be_observed(work, script):
    work.write("x.sql", "1\n")
    work.write("y.sql", "2\n")
    work.write("main.sql", script)
    content = work.content()
    assert content.volatile is None
    (reason,) = content.unnamed
    assert content.unobserved().volatile == reason
    assert reason.startswith(f"{work.root}/main.sql:")
    assert "only psql knows which file" in reason


def test_the_error_for_a_missing_include_names_its_places(tree):
    (tree.root / "sub/two.sql").unlink()
    message, details = tree.refusal()
    root = tree.root
    assert message == "cannot read file"
    assert details.endswith(f"{root}/sub/one.sql:1: {root}/sub/two.sql")
    assert details.startswith(f"{root}/main.sql:2: ")


@pytest.mark.parametrize("command", ["\\copy t from", "\\lo_import", "\\i", "\\ir"])
def test_the_error_for_any_missing_file_names_its_place(work, command):
    work.write("main.sql", f"select 1;\n{command} nothing\n")
    place = f"{work.root}/main.sql:2: {work.root}/nothing"
    assert work.refusal() == ("cannot read file", place)


@pytest.mark.parametrize("name", ["/", "x" * 300, "caf\udce9"])
def test_impossible_file_names_are_like_missing_files(work, name):
    text = b"\\i " + os.fsencode(name) + b"\n"
    work.write("main.sql", text)
    message, details = work.refusal()
    assert message == "cannot read file"
    details.encode()  # can be shown
    work.write("main.sql", b"\\if :c\n" + text + b"\\endif\n")
    if name != "/":
        assert work.content().volatile is None


def test_a_file_in_an_unknown_branch_may_be_missing(work):
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
def test_a_file_that_the_script_writes_is_no_input_and_makes_the_step_volatile(work, write):
    work.write("main.sql", f"{write}\n\\i x.sql\n\\i nothing.sql\n")
    reason = f"{work.root}/main.sql:2: {work.root}/x.sql is written by the script itself"
    assert work.content().volatile == reason
    work.write("x.sql", "select 1;\n")
    assert (work.reads(), work.content().volatile) == (["main.sql"], reason)


def test_a_file_that_a_program_may_write_may_be_missing_but_makes_the_step_volatile(work):
    work.write("main.sql", "\\! make\n\\i x.sql\n")
    assert (
        work.content().volatile == f"{work.root}/main.sql:2: {work.root}/x.sql does not exist yet"
    )
    work.write("x.sql", "select 1;\n")
    assert (work.reads(), work.content().volatile) == (["main.sql", "x.sql"], None)


def test_a_file_that_the_server_reads_is_not_written(read):
    content = read("copy t from '/somewhere/x.sql';\n\\i x.sql\n")
    assert (len(content.files), content.volatile) == (1, None)
    with pytest.raises(InvalidArgument, match="cannot read file"):
        read("copy t from '/somewhere/x.sql';\n\\i nothing.sql\n")


def test_a_file_that_an_option_writes_is_no_input(read):
    content = read("\\i x.sql\n", outputs=("x.sql",))
    assert content.files == ()
    assert content.volatile.endswith("x.sql is written by the script itself")


BESIDE = (
    "cannot read file: psql looks for it in its working directory, not beside the script: "
    "{}prepare in the directory of the script (work_dir)"
)


@pytest.mark.parametrize(
    ("command", "advice"),
    [
        ("\\i x.sql", "write \\ir, or "),
        ("\\include ./x.sql", "write \\ir, or "),
        ("\\copy t from x.sql", ""),
        ("\\lo_import x.sql", ""),
    ],
)
def test_the_error_for_a_file_beside_the_script_says_what_to_do(work, command, advice):
    work.write("db/x.sql", "1\n")
    work.write("db/sub.sql", f"select 1;\n{command}\n")
    work.write("main.sql", "\\i db/sub.sql\n")
    root = work.root
    places = f"{root}/main.sql:1: {root}/db/sub.sql:2: {root}/x.sql (in {root}/db, there is "
    places += f"{command.split()[-1].removeprefix('./')})"
    assert work.refusal() == (BESIDE.format(advice), places)


def test_the_error_for_a_file_above_the_script_names_the_working_directory(work):
    work.write("admin/sql/x.sql", "select 1;\n")
    work.write("admin/sql/all.sql", "\\i admin/sql/x.sql\n")
    message, details = work.refusal("admin/sql/all.sql")
    assert message == (
        "cannot read file: the working directory is not the one that the script is written for: "
        "prepare in that one (work_dir)"
    )
    missing = f"{work.root}/admin/sql/all.sql:1: {work.root}/admin/sql/admin/sql/x.sql"
    assert details == f"{missing} (in {work.root}, there is admin/sql/x.sql)"


@pytest.mark.parametrize(
    "script",
    [
        "\\ir x.sql\n",
        "\\ir top.sql\n",
        "\\i nothing.sql\n",
        "\\i /nowhere/y.sql\n",
        "\\i db/bad.sql\n",
        "\\i dir\n",
    ],
)
def test_the_error_for_a_file_that_is_not_beside_the_script_has_no_advice(work, script):
    work.write("db/main.sql", script)
    work.write("top.sql", "")
    work.write("db/bad.sql", "\\connect - - elsewhere\n")
    work.write("db/db/bad.sql", "")
    work.write("db/dir/x.sql", "")
    work.write("main.sql", "\\i db/main.sql\n")
    message, details = work.refusal()
    assert "beside" not in message
    assert "there is" not in details
