"""The files of a client's changelog, staged for Liquibase."""

from pathlib import Path

import pytest
from support.remote_client import RemoteClient

from sqlrs_engine.config import Config
from sqlrs_engine.prepare.plan import Configured
from sqlrs_engine.prepare.planner import Planner
from sqlrs_engine.prepare.request import PrepareRequest


@pytest.mark.parametrize("root", ["/c/app", r"C:\work\app"])
def test_a_staged_stage_has_staged_paths_and_its_files_go_with_the_last_user(
    tmp_path: Path, root: str
) -> None:
    client = RemoteClient(tmp_path, {"db/m.xml": "<x/>"}, root)
    join = "\\" if "\\" in root else "/"
    stage = client.sync(
        "--changelog-file", f"{root}{join}db{join}m.xml", "-Dplace=/c/app/db", work_dir=root
    )
    assert stage.source_manifest is not None
    staged = client.staged.find(stage, stage.source_manifest)
    again = client.staged.find(stage, stage.source_manifest)
    here = staged.root
    for each in (staged, again):
        each.stage()
    assert staged.local_stage.liquibase_args == (
        "update",
        "--changelog-file",
        f"{here}/db/m.xml",
        "-Dplace=/c/app/db",
    )
    assert staged.local_stage.work_dir == str(here)
    assert (here / "db/m.xml").read_text() == "<x/>"
    assert staged.client_text(f"{here}/db/m.xml") == f"{root}/db/m.xml"
    assert again.root == here
    staged.close()
    staged.close()
    assert here.is_dir()
    again.close()
    assert not here.exists()


def test_what_will_be_staged_is_known_before_it_is_staged(tmp_path: Path) -> None:
    client = RemoteClient(tmp_path, {"db/m.xml": "<x/>", "other/unused/x.sql": ""})
    search = "--search-path=/c/app/db,/c/app/other/unused"
    stage = client.sync("--changelog-file=m.xml", search)
    assert stage.source_manifest is not None
    staged = client.staged.find(stage, stage.source_manifest)
    places = ["", "db", "db/m.xml", "other", "other/unused", "db/n.xml", "db/m.xml/x", "..", "../x"]

    def found() -> dict[str, bool]:
        return {place: staged.exists(Path(f"{staged.root}/{place}")) for place in places}

    before = found()
    assert not staged.root.exists()
    staged.stage()
    try:
        inside = {place: (staged.root / place).exists() for place in places if ".." not in place}
    finally:
        staged.close()
    assert before == inside | {"..": False, "../x": False} == found()


def test_a_draft_stages_nothing(tmp_path: Path) -> None:
    client = RemoteClient(tmp_path, {"db/m.xml": "<x/>"})
    stage = client.sync("--changelog-file=db/m.xml")
    planner = Planner(
        client.blobs,
        trees=client.trees,
        changelogs=tmp_path / "changelogs",
        config=Config(tmp_path / "config.json"),
    )
    request = PrepareRequest(prepare_kind="lb", image_id="postgres", stages=(stage,))
    assert planner.draft(request, Configured()).normalized == "update --changelog-file=db/m.xml"
    assert not client.trees.place("").parent.exists()
