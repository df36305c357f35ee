"""Which arguments of Liquibase are allowed, and what becomes of the paths in them."""

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.liquibase.arguments import LiquibaseArguments


@pytest.fixture
def work(tmp_path):
    for name in ("c.sql", "db/c.xml", "other/d.xml", "my.properties"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def parse(work, *args):
    return LiquibaseArguments.parse(args, str(work))


def words(work, *args):
    return [word.replace(str(work), "W") for word in parse(work, *args).words]


@pytest.mark.parametrize("command", ["update", "update-count", "updateCount", "UPDATE-TO-TAG"])
def test_commands_that_make_states(work, command):
    assert command in parse(work, "--changelog-file", "c.sql", command, "--count=1").words


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "lb command is required"),
        (["--changelog-file", "c.sql"], "lb command is required"),
        (["rollback", "--tag", "x"], "unsupported lb command"),
        (["--contexts", "dev", "drop-all"], "unsupported lb command"),
        (["drop-all", "--schemas", "update"], "unsupported lb command"),
        (["update-sql"], "unsupported lb command"),
        (["update-testing-rollback"], "unsupported lb command"),
        (["update", "--url=jdbc:x"], "connection flags are not allowed"),
        (["update", "--url", "jdbc:x"], "connection flags are not allowed"),
        (["--username=x", "update"], "connection flags are not allowed"),
        (["update", "--password", "x"], "connection flags are not allowed"),
        (["update", "--driver=x"], "runtime flags are not allowed"),
        (["--classpath=x.jar", "update"], "runtime flags are not allowed"),
        (["update", "--driverPropertiesFile=x"], "connection flags are not allowed"),
        (["update", "@more"], "argument files are not allowed: give their arguments"),
        (["update", "--liquibase-driver=x"], "runtime flags are not allowed"),
        (["update", "-Dx=\0"], "arguments must not contain a NUL character"),
        (["update", "--changelog-file"], "missing value for flag"),
        (["update", "--changelog-file", "--contexts=x"], "missing value for flag"),
        (["update", "--changelog-file= "], "path is empty"),
        (["update", "--changelog-file=missing.sql"], "path does not exist"),
        (["update", "--changelog-file=/etc/nothing"], "path does not exist"),
        (["update", "--defaults-file=missing"], "path does not exist"),
        (["--searchPath=,db", "update"], "searchPath is empty"),
        (["--search-path=db,missing", "update"], "searchPath path does not exist"),
        (["update", "--changelog-file=/etc/passwd"], "the changelog is outside the search path"),
    ],
)
def test_arguments_that_are_not_allowed_are_refused(work, args, message):
    with pytest.raises(InvalidArgument) as refused:
        parse(work, *args)
    assert refused.value.message == message
    assert refused.value.details or message.endswith(("is empty", "NUL character"))


def test_relative_paths_are_relative_to_the_work_dir(work, monkeypatch):
    """The Go engine looks from where it was started."""
    monkeypatch.chdir("/")
    assert words(work, "update", "--changelog-file", "c.sql") == [
        "update",
        "--changelog-file=c.sql",
    ]
    assert parse(work, "update").directory == work


def test_a_changelog_is_named_as_liquibase_finds_it(work):
    inside = str(work / "db" / "c.xml")
    assert words(work, "update", f"--changelogFile={inside}")[1] == "--changelogFile=db/c.xml"
    found = words(work, "--search-path", "db,other", "update", "--changeLogFile", inside)
    assert found == ["--searchPath=W/db,W/other", "update", "--changeLogFile=c.xml"]
    found = words(work, "update", "--changelog-file=d.xml", "--searchPath=db,other")
    assert found == ["--searchPath=W/db,W/other", "update", "--changelog-file=d.xml"]


def test_a_changelog_without_a_work_dir(work):
    parsed = LiquibaseArguments.parse(["update", f"--changelog-file={work}/db/c.xml"], None)
    assert parsed.directory == work / "db"
    assert parsed.words == ("update", "--changelog-file=c.xml")
    with pytest.raises(InvalidArgument) as refused:
        LiquibaseArguments.parse(["update", "--changelog-file=c.xml"], None)
    assert (
        refused.value.message
        == "relative path without a work_dir: give a work_dir, or an absolute path"
    )


def test_arguments_that_are_no_paths_are_left_unchanged(work):
    for place in ("classpath:db/c.xml", "https://host/c.xml"):
        assert words(work, "update", "--changelog-file", place)[1] == f"--changelog-file={place}"
    given = ["--log-level=info", "update", "--contexts", "a or b", "-Dx=1", "--label-filter=l"]
    assert words(work, *given) == given
    assert words(work, "--", "update", "") == ["update"]


def test_the_defaults_file_is_resolved(work):
    assert parse(work, "update").defaults_file is None
    given = parse(work, "update", "--defaultsFile=my.properties")
    assert given.defaults_file == work / "my.properties"
    assert given.words[0] == f"--defaultsFile={work}/my.properties"
    given = parse(work, "--liquibase-defaults-file", "my.properties", "update")
    assert given.words[0] == f"--liquibase-defaults-file={work}/my.properties"


def test_the_value_of_a_flag_is_not_taken_for_the_command(work):
    assert parse(work, "--show-summary", "update", "--tag", "x", "update-to-tag").words
    assert parse(work, "--show-banner", "update").command == "update"


def test_counting_keeps_changelog_and_settings(work):
    parsed = parse(work, "--changelog-file=c.sql", "update-to-tag", "--tag", "v1", "-Dx=1")
    assert parsed.counting(3) == ["--changelog-file=c.sql", "update-count", "--count=3", "-Dx=1"]
    parsed = parse(work, "updateCount", "--count=9", "--changelog-file=c.sql")
    assert parsed.counting(1) == ["update-count", "--count=1", "--changelog-file=c.sql"]
