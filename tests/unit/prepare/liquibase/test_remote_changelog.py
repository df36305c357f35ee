"""Changelogs of a client on another machine: the files that the client is asked for."""

from pathlib import Path

import pytest
from support.remote_client import RemoteClient

from sqlrs_engine.errors import InvalidArgument

TREE = {
    "db/changelog/master.xml": "<include file='parts/a.json' relativeToChangelogFile='true'/>\n"
    '<include file="db/changelog/parts/b.yml"/><includeAll path="all"\n'
    "relativeToChangelogFile='true' /> <include file='${later}.xml'/>",
    "db/changelog/parts/a.json": '{"sqlFile": {"path": "classpath:db/sql/a.sql"}}',
    "db/changelog/parts/b.yml": "- loadData:\n    file: ../../data/b.csv  # ours\n"
    "- loadData: { file: 'db/data/c.csv', tableName: x }\n- sqlFile:\n    path: nowhere.sql\n",
    "db/changelog/all/1.sql": "--liquibase formatted sql\n",
    "db/changelog/all/deep/2.sql": "--liquibase formatted sql\n",
    "db/sql/a.sql": "select 1;",
    "db/data/b.csv": "x\n1\n",
    "db/data/c.csv": "x\n1\n",
    "db/data/unused.csv": "x\n",
    "node_modules/x/y.xml": "<include file='db/data/unused.csv'/>",
    "README.md": "file: db/data/unused.csv",
}
USED = {name for name in TREE if name.startswith("db/")} - {"db/data/unused.csv"}


@pytest.mark.parametrize(
    "args",
    [
        ("--changelog-file=/c/app/db/changelog/master.xml",),
        ("--changelogFile", "db/changelog/master.xml"),
        ("--search-path=/c/app,/c/app/db", "--changelog-file", "db/changelog/master.xml"),
        ("--defaults-file=/c/app/db/liquibase.conf.properties",),
    ],
    ids=["absolute", "relative", "searched", "by the defaults file"],
)
def test_what_a_changelog_names_is_asked_for_in_few_rounds(
    tmp_path: Path, args: tuple[str, ...]
) -> None:
    defaults = "db/liquibase.conf.properties"
    files = TREE | {defaults: "url: x\nliquibase.command.changelog-file = db/changelog/master.xml"}
    client = RemoteClient(tmp_path, files)
    extra = {defaults} if "defaults" in args[0] else set()
    assert client.needed(*args) == USED | extra


def test_a_changelog_in_the_workspace_itself_does_not_bring_the_workspace(tmp_path: Path) -> None:
    files = {
        "master.yaml": "- include: {file: one.sql}\n",
        "one.sql": "",
        "two.sql": "",
        "src/three.sql": "",
        "liquibase.properties": "# none",
    }
    client = RemoteClient(tmp_path, files)
    used = {"master.yaml", "one.sql", "liquibase.properties"}
    assert client.needed("--changelog-file=master.yaml") == used
    assert set(client.manifest["files"]) == used
    assert set(client.manifest["directories"]) == {"."}


@pytest.mark.parametrize("value", ["/etc/passwd", "../x.xml", "/c/app/../x.xml"])
def test_nothing_outside_the_workspace(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidArgument, match="outside the workspace"):
        RemoteClient(tmp_path, {}).needed(f"--changelog-file={value}")


def test_a_reference_out_of_the_workspace_is_left_to_liquibase(tmp_path: Path) -> None:
    client = RemoteClient(tmp_path, {"a/m.xml": '<include file="../../etc/x.xml"/>'})
    assert client.needed("--changelog-file=a/m.xml") == {"a/m.xml"}
