"""The declared inputs of a command: which files the patterns match, and what of them counts."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.command import inputs as input_files
from sqlrs_engine.prepare.command import tree
from sqlrs_engine.prepare.command.inputs import InputFiles
from sqlrs_engine.prepare.file_reads import FileDigests

MIGRATIONS = ("migrations/1.sql", "migrations/2.sql", "migrations/old/0.sql", "migrations/env.py")


@pytest.fixture
def files():
    return InputFiles(FileDigests())


@pytest.fixture
def matched(app, files):
    """Return the function that lists the files that patterns match."""
    return lambda *patterns: [file.path for file in files.read(app.root, patterns).files]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("migrations/*.sql", ["migrations/1.sql", "migrations/2.sql"]),
        ("migrations/**", sorted(MIGRATIONS)),
        ("migrations/", sorted(MIGRATIONS)),
        ("migrations", sorted(MIGRATIONS)),
        ("./migrations/./1.sql", ["migrations/1.sql"]),
        ("**/*.sql", ["migrations/1.sql", "migrations/2.sql", "migrations/old/0.sql"]),
        ("migrations/**/0.sql", ["migrations/old/0.sql"]),
        ("migrations/**/1.sql", ["migrations/1.sql"]),
        ("migrations/?.sql", ["migrations/1.sql", "migrations/2.sql"]),
        ("migrations/[!1].sql", ["migrations/2.sql"]),
        ("migrations/*", ["migrations/1.sql", "migrations/2.sql", "migrations/env.py"]),
        ("*/old/*", ["migrations/old/0.sql"]),
        ("*/", sorted(MIGRATIONS)),
        ("*", ["alembic.ini"]),
        ("**", ["alembic.ini", *sorted(MIGRATIONS)]),
        (".", ["alembic.ini", *sorted(MIGRATIONS)]),
    ],
)
def test_patterns(app, matched, pattern, expected):
    app.write(*MIGRATIONS, "alembic.ini")
    assert matched(pattern) == expected


def test_a_file_that_several_patterns_match_is_one_input(app, matched):
    app.write("a.sql", "b.sql")
    assert matched("*.sql", "a.sql", "**") == ["a.sql", "b.sql"]


def test_names_with_a_leading_dot_match_wildcards(app, matched):
    app.write(".env.test", "config/.hidden/x")
    assert matched("**") == [".env.test", "config/.hidden/x"]


def test_what_looks_like_a_wildcard_can_be_written_as_a_class(app, matched):
    app.write("[id].sql", "i.sql")
    assert matched("[[]id].sql") == ["[id].sql"]


def test_a_pattern_with_an_exclamation_mark_leaves_files_out(app, matched):
    app.write("db/1.sql", "db/schema.rb", "db/seeds/a.sql")
    assert matched("db/**", "!db/schema.rb", "!db/seeds") == ["db/1.sql"]
    assert matched("db/**", "!**/*.sql") == ["db/schema.rb"]


def test_no_patterns_are_no_inputs(app, matched):
    app.write("a.sql")
    assert matched() == []


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("/etc/passwd", "is absolute"),
        ("../other/**", "leaves work_dir"),
        ("migrations/../../x", "leaves work_dir"),
        ("", "is empty"),
        ("!", "is empty"),
        ("a\0b", "NUL"),
        ("a\udcffb", "not in UTF-8"),
        ("migrations/**.sql", "a whole component"),
        ("!a.sql", "only leave out"),
    ],
)
def test_patterns_that_are_refused(app, matched, pattern, reason):
    app.write("a.sql")
    with pytest.raises(InvalidArgument, match=reason):
        matched(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "migration/*.sql",
        "**/*.nothing",
        "a.sql/",
        "a.sql/b",
        pytest.param("x" * 300, id="long"),
        "empty/",
    ],
)
def test_a_pattern_that_matches_nothing_is_named(app, matched, pattern):
    app.write("a.sql")
    (app.root / "empty").mkdir()
    with pytest.raises(InvalidArgument, match="matches no file") as refused:
        matched("a.sql", pattern)
    assert pattern in refused.value.details
    assert "a.sql, " not in refused.value.details


def test_a_pattern_whose_files_are_all_left_out_matches_nothing(app, matched):
    app.write("a.sql", "b.txt")
    with pytest.raises(InvalidArgument, match="matches no file"):
        matched("a.*", "!a.sql", "b.txt")


@given(st.text(alphabet="*?[]!-^az/.\\\\~é\n b1", max_size=12))
def test_whatever_a_pattern_is_it_matches_or_is_refused(tmp_path_factory, pattern):
    root = tmp_path_factory.getbasetemp() / "any"
    (root / "a" / "b1").mkdir(parents=True, exist_ok=True)
    (root / "a" / "b1" / "z").touch()
    try:
        files = InputFiles(FileDigests()).read(root, [pattern]).files
    except InvalidArgument:
        return
    assert [file.path for file in files] == ["a/b1/z"]


class TestIgnored:
    def test_files_of_gitignore_count_only_by_name(self, app, matched):
        app.write("app.py", "app.pyc", "build/x.sql", "db/keep.log", "db/a.log", "db/local.sql")
        app.write(".gitignore", text="*.pyc\n/build/\n*.log\n!keep.log\n")
        app.write("db/.gitignore", text="local.sql\n")
        assert matched("**") == [".gitignore", "app.py", "db/.gitignore", "db/keep.log"]
        assert matched("app.py*") == ["app.py"]
        assert matched("app.pyc", "build/*.sql") == ["app.pyc", "build/x.sql"]
        assert matched("**/local.sql") == ["db/local.sql"]

    def test_gitignore_above_work_dir_counts_within_the_repository(self, app, files):
        app.write("repo/.gitignore", text="generated/\n/service/secret.sql\n")
        app.write(".gitignore", text="*.sql\n")
        app.write("repo/service/db/generated/x.sql", "repo/service/a.sql")
        app.write("repo/service/secret.sql")
        work_dir = app.root / "repo" / "service"
        assert [file.path for file in files.read(work_dir, ["**"]).files] == [
            "a.sql",
            "db/generated/x.sql",
            "secret.sql",
        ]
        (app.root / "repo" / ".git").mkdir()
        assert [file.path for file in files.read(work_dir, ["**"]).files] == ["a.sql"]

    @pytest.mark.parametrize(
        "cache",
        [
            ".git/config",
            "node_modules/pg/index.js",
            "db/__pycache__/a.pyc",
            ".venv/bin/python",
            "target/CACHEDIR.TAG",
            "env/pyvenv.cfg",
        ],
    )
    def test_caches_count_only_by_name(self, app, matched, cache):
        app.write("a.sql", cache)
        assert matched("**") == ["a.sql"]
        assert matched(cache) == [cache]
        assert matched(str(Path(cache).parent)) == [cache]

    def test_a_virtual_environment_may_be_work_dir(self, app, matched):
        app.write("a.sql", "pyvenv.cfg")
        assert matched("*") == ["a.sql", "pyvenv.cfg"]

    def test_invalid_lines_of_a_gitignore_match_nothing_as_in_git(self, app, matched):
        app.write("a.sql", "b.txt")
        app.write(".gitignore", text="!\n*.txt\n[z-a]\n")
        assert matched("*") == [".gitignore", "a.sql"]

    def test_a_gitignore_that_cannot_be_read_is_an_error_that_names_it(self, app, matched):
        app.write("a.sql")
        (app.root / ".gitignore").mkdir()
        with pytest.raises(InvalidArgument, match=r"\.gitignore"):
            matched("*")


class TestLinks:
    def test_links_are_followed_wherever_they_lead(self, app, matched, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "shared.sql").write_text("x")
        app.link("shared", outside)
        app.link("one.sql", outside / "shared.sql")
        assert matched("**") == ["one.sql", "shared/shared.sql"]

    def test_a_link_to_a_directory_above_it_is_not_followed(self, app, matched):
        app.write("db/a.sql")
        app.link("db/up", "..")
        app.link("db/self", ".")
        assert matched("**") == ["db/a.sql"]

    def test_links_that_lead_in_a_circle_are_no_files(self, app, matched):
        app.write("db/a.sql")
        app.link("db/b", "b")
        app.link("db/c", "d")
        app.link("db/d", "c")
        assert matched("db/**") == ["db/a.sql"]

    def test_a_link_to_nothing_is_no_file(self, app, matched):
        app.write("a.sql")
        app.link(".#a.sql", "nobody@nowhere")
        assert matched("*") == ["a.sql"]
        with pytest.raises(InvalidArgument, match="matches no file"):
            matched(".#a.sql")


def test_what_is_no_regular_file_does_not_count(app, matched):
    app.write("a.sql")
    os.mkfifo(app.root / "pipe")
    assert matched("*") == ["a.sql"]
    with pytest.raises(InvalidArgument, match="matches no file"):
        matched("pipe")


def test_names_that_are_not_utf_8(app, files):
    (app.root / os.fsdecode(b"caf\xe9.sql")).write_text("x")
    inputs = files.read(app.root, ["*"])
    assert [file["path"] for file in inputs.shown()] == [r"caf\xe9.sql"]
    assert inputs.digest


def test_too_many_files_are_refused(app, matched, monkeypatch):
    monkeypatch.setattr(tree, "MOST_FILES", 2)
    app.write("1", "2", "3")
    with pytest.raises(InvalidArgument, match="more than 2 files"):
        matched("*")


class TestDigest:
    def test_the_place_does_not_count(self, app, files, tmp_path):
        app.write("db/a.sql", text="select 1")
        moved = tmp_path / "moved"
        (moved / "db").mkdir(parents=True)
        (moved / "db" / "a.sql").write_text("select 1")
        assert (
            files.read(app.root, ["db/"]).digest == files.read(moved, ["db/*", "db/a.sql"]).digest
        )

    def test_content_name_and_mode_count(self, app, files):
        app.write("a.sql", text="1")
        digests = [files.read(app.root, ["*"]).digest]
        app.write("a.sql", text="2")
        digests.append(files.read(app.root, ["*"]).digest)
        (app.root / "a.sql").chmod(0o755)
        digests.append(files.read(app.root, ["*"]).digest)
        (app.root / "a.sql").rename(app.root / "b.sql")
        digests.append(files.read(app.root, ["*"]).digest)
        assert len(set(digests)) == 4

    def test_differences_are_named(self, app, files):
        app.write("a", "b", "c")
        before = files.read(app.root, ["*"])
        app.write("b", "d", text="new")
        (app.root / "c").unlink()
        assert files.read(app.root, ["*"]).different(before) == ["b", "c", "d"]

    def test_many_files_are_shown_by_directory(self, app, files, monkeypatch):
        monkeypatch.setattr(input_files, "_FILES_SHOWN", 2)
        app.write("a", "b", "db/c")
        assert [each["path"] for each in files.read(app.root, ["**"]).shown()] == ["./", "db/"]


class TestMemory:
    """What was read is used again while it is unchanged."""

    @pytest.fixture(autouse=True)
    def _settled(self, settled, app):
        app.write("a.sql", "db/b.sql", "db/c.txt")

    @pytest.fixture
    def read(self, app, files):
        return lambda: files.read(app.root, ["**/*.sql"])

    def test_unchanged_files_are_not_read_again(self, read):
        assert read() is read()
        assert read().unchanged()

    @pytest.mark.parametrize(
        "change",
        [
            lambda app: app.write("a.sql", text="new"),
            lambda app: app.write("db/d.sql"),
            lambda app: app.write("new/d.sql"),
            lambda app: (app.root / "db" / "b.sql").unlink(),
            lambda app: (app.root / "a.sql").chmod(0o755),
            lambda app: app.write(".gitignore", text="b.sql"),
            lambda app: app.write("db/.gitignore", text="*"),
            lambda app: (app.root / "db").rename(app.root / "moved"),
        ],
    )
    def test_a_change_is_noticed(self, app, read, change):
        before = read()
        change(app)
        assert not before.unchanged()
        after = read()
        assert after.digest != before.digest
        assert after.digest == InputFiles(FileDigests()).read(app.root, ["**/*.sql"]).digest

    def test_changes_above_work_dir_are_noticed(self, app, files):
        (app.root / ".git").mkdir()
        before = files.read(app.root / "db", ["*"])
        app.write(".gitignore", text="*.txt")
        assert [file.path for file in files.read(app.root / "db", ["*"]).files] == ["b.sql"]
        assert not before.unchanged()

    def test_other_files_make_no_difference(self, app, read):
        before = read()
        app.write("db/c.txt", text="new")
        assert read().digest == before.digest

    def test_a_file_that_vanished_is_reported(self, app, files):
        files.read(app.root, ["db/b.sql"])
        (app.root / "db" / "b.sql").unlink()
        with pytest.raises(InvalidArgument, match="matches no file"):
            files.read(app.root, ["db/b.sql"])


def test_files_changed_just_now_are_not_remembered(app, files):
    app.write("a.sql")
    assert files.read(app.root, ["*"]) is not files.read(app.root, ["*"])
