"""Changelogs of a client on another machine: what it is asked for, and how its paths read here."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from sqlrs_engine.errors import InvalidArgument, SourceInputsMissing
from sqlrs_engine.prepare.liquibase.remote_changelog import Workspaces
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs, Trees

ROUNDS = 8


class Client:
    """A client that ends, as sqlrs does, when it is asked for what it does not have."""

    def __init__(self, directory: Path, files: dict[str, str], root: str = "/c/app") -> None:
        self.files = files
        self.blobs = Blobs(directory / "blobs")
        self.trees = Trees(directory / "trees", self.blobs)
        self.workspaces = Workspaces(self.blobs, self.trees)
        self.manifest: dict[str, Any] = {
            "workspace_ref": {"root_path": root, "work_dir": root},
            "files": {},
            "directories": {},
        }
        self.rounds = 0

    def request(self, *args: str, **fields: Any) -> PrepareRequest:
        return PrepareRequest.from_json(
            {
                "prepare_kind": "lb",
                "image_id": "postgres",
                "liquibase_args": ["update", *args],
                "source_manifest": self.manifest,
                **fields,
            }
        )

    def sync(self, *args: str, **fields: Any) -> PrepareRequest:
        """Answer until nothing is missing; return the request that is complete."""
        while True:
            request = self.request(*args, **fields)
            assert request.source_manifest is not None
            try:
                self.workspaces.check(request, request.source_manifest)
            except SourceInputsMissing as error:
                self.rounds += 1
                self.answer(error.as_dict())
            else:
                assert self.rounds <= ROUNDS
                return request

    def closure(self, *args: str, **fields: Any) -> set[str]:
        request = self.sync(*args, **fields)
        assert request.source_manifest is not None
        return set(self.workspaces.check(request, request.source_manifest).files)

    def answer(self, missing: dict[str, Any]) -> None:
        for entry in missing.get("missing_manifest_entries", ()):
            path = entry["path"]
            if entry["kind"] == "file_hash":
                self.manifest["files"][path] = f"sha256:{self.digest(path)}"
            else:
                self.manifest["directories"][path] = {"entries": self.list(path)}
        for blob in missing.get("missing_blobs", ()):
            content = self.files[blob["path"]].encode()
            with self.blobs.receive(self.digest(blob["path"]), 1_000_000) as upload:
                upload.write(content)
                upload.finish()

    def digest(self, path: str) -> str:
        return hashlib.sha256(self.files[path].encode()).hexdigest()

    def list(self, directory: str) -> list[dict[str, str]]:
        prefix = "" if directory == "." else f"{directory}/"
        below = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
        assert below, f"no such directory: {directory}"
        kinds = {name.partition("/")[0]: "directory" if "/" in name else "file" for name in below}
        return [{"name": name, "kind": kind} for name, kind in kinds.items()]


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
    client = Client(tmp_path, files)
    extra = {defaults} if "defaults" in args[0] else set()
    assert client.closure(*args) == USED | extra


def test_a_changelog_in_the_workspace_itself_does_not_bring_the_workspace(tmp_path: Path) -> None:
    files = {
        "master.yaml": "- include: {file: one.sql}\n",
        "one.sql": "",
        "two.sql": "",
        "src/three.sql": "",
        "liquibase.properties": "# none",
    }
    client = Client(tmp_path, files)
    used = {"master.yaml", "one.sql", "liquibase.properties"}
    assert client.closure("--changelog-file=master.yaml") == used
    assert set(client.manifest["files"]) == used
    assert set(client.manifest["directories"]) == {"."}


@pytest.mark.parametrize("value", ["/etc/passwd", "../x.xml", "/c/app/../x.xml"])
def test_nothing_outside_the_workspace(tmp_path: Path, value: str) -> None:
    with pytest.raises(InvalidArgument, match="outside the workspace"):
        Client(tmp_path, {}).closure(f"--changelog-file={value}")


def test_a_reference_out_of_the_workspace_is_left_to_liquibase(tmp_path: Path) -> None:
    client = Client(tmp_path, {"a/m.xml": '<include file="../../etc/x.xml"/>'})
    assert client.closure("--changelog-file=a/m.xml") == {"a/m.xml"}


@pytest.mark.parametrize("root", ["/c/app", r"C:\work\app"])
def test_arguments_read_here_as_there(tmp_path: Path, root: str) -> None:
    client = Client(tmp_path, {"db/m.xml": "<x/>"}, root)
    join = "\\" if "\\" in root else "/"
    request = client.sync(
        "--changelog-file", f"{root}{join}db{join}m.xml", "-Dplace=/c/app/db", work_dir=root
    )
    assert request.source_manifest is not None
    workspace = client.workspaces.open(request, request.source_manifest)
    again = client.workspaces.open(request, request.source_manifest)
    here = workspace.root
    assert workspace.request.liquibase_args == (
        "update",
        "--changelog-file",
        f"{here}/db/m.xml",
        "-Dplace=/c/app/db",
    )
    assert workspace.request.work_dir == str(here)
    assert (here / "db/m.xml").read_text() == "<x/>"
    assert workspace.told(f"{here}/db/m.xml") == f"{root}/db/m.xml"
    assert again.root == here
    workspace.close()
    workspace.close()
    assert here.is_dir()
    again.close()
    assert not here.exists()
