"""The digest of a script: its text with that of all the files it reads."""

import pytest


def test_every_file_that_is_read_is_listed(tree):
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


def test_a_moved_checkout_has_the_same_digest(tree, tmp_path):
    before = tree.digest()
    tree.root.rename(tmp_path.with_name("moved"))
    tree.root = tmp_path.with_name("moved")
    try:
        assert tree.digest() == before
    finally:
        tree.root.rename(tmp_path)


def test_a_renamed_include_has_the_same_digest(tree):
    before = tree.digest()
    (tree.root / "sub").rename(tree.root / "other")
    tree.write("main.sql", "select 1;\n\\i 'other/one.sql'\n")
    tree.write("other/one.sql", "\\ir two.sql\n\\ir ../other/two.sql\n")
    assert tree.digest() == before


@pytest.mark.parametrize("name", ["main.sql", "sub/one.sql", "sub/two.sql", "data.csv"])
def test_one_byte_in_any_file_changes_the_digest(tree, name):
    before = tree.digest()
    path = tree.root / name
    path.write_bytes(path.read_bytes() + b" ")
    assert tree.digest() != before


def test_the_place_of_an_include_changes_the_digest(work):
    work.write("x.sql", "select 'x';\n")
    texts = (
        "select 1;\n\\i x.sql\nselect 2;\n",
        "\\i x.sql\nselect 1;\nselect 2;\n",
        "select 1;\nselect 2;\n\\i x.sql\n",
        "select 1;\nselect 'x';\nselect 2;\n",
    )
    assert len({work.text(text).digest for text in texts}) == len(texts)


def test_two_includes_differ_from_one_with_the_text_of_both(work):
    work.write("a.sql", "select 1;\n")
    work.write("b.sql", "select 2;\n")
    work.write("ab.sql", "select 1;\nselect 2;\n")
    assert work.text("\\i a.sql\n\\i b.sql\n").digest != work.text("\\i ab.sql\n").digest


def test_the_table_of_a_copy_counts_and_the_name_of_its_file_does_not(work):
    for name in ("t", "x"):
        work.write(name, "1\n")
    texts = ["\\copy xt from t\n", "\\copy tx from t\n", "\\copy t from t\n", "\\copy x from t\n"]
    assert len({work.text(text).digest for text in texts}) == len(texts)
    assert work.text("\\copy t from x\n").digest == work.text("\\copy t from t\n").digest
