"""Drafts of requests of either kind."""

import os
from dataclasses import replace

import pytest
from support.prepare_requests import single_stage

from sqlrs_engine.config import Config
from sqlrs_engine.errors import InvalidArgument, ProgramUnavailable
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.prepare.plan import Configured
from sqlrs_engine.prepare.planner import Planner
from sqlrs_engine.prepare.request import PrepareRequest


@pytest.fixture
def planner(tmp_path):
    planner = Planner(changelogs=tmp_path / "changelogs", config=Config(tmp_path / "config.json"))
    yield planner
    planner.stop()


@pytest.mark.parametrize("kind", ["psql", "lb"])
@pytest.mark.parametrize("path", ["/no/such", "/etc/passwd", "/a\0b", "/" + "x" * 300])
def test_a_working_directory_has_to_be_a_directory(planner, kind, path):
    request = single_stage(prepare_kind=kind, image_id="postgres", work_dir=path)
    with pytest.raises(
        InvalidArgument, match="work_dir is not a directory that the engine can enter: name one"
    ) as caught:
        planner.draft(request, Configured())
    assert caught.value.details == path


@pytest.mark.parametrize(
    ("stage", "error", "details"),
    [
        ({"kind": "psql", "psql_args": ["-f", "/no/such"]}, InvalidArgument, "/no/such"),
        (
            {"kind": "command", "argv": ["no-such"], "inputs": [], "work_dir": "/"},
            ProgramUnavailable,
            "no-such",
        ),
    ],
)
def test_mistakes_in_a_chain_name_the_stage(planner, stage, error, details):
    first = {"kind": "psql", "psql_args": ["-c", "select 1"]}
    body = {"prepare_kind": "chain", "image_id": "postgres", "stages": [first, stage]}
    with pytest.raises(error) as caught:
        planner.draft(PrepareRequest.from_json(body), Configured())
    assert caught.value.details.startswith(f"stages[1]: {details}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may enter every directory")
def test_a_working_directory_has_to_be_open(planner, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    request = single_stage(prepare_kind="psql", image_id="postgres", work_dir=str(closed))
    with pytest.raises(InvalidArgument, match="work_dir is not a directory that the engine can"):
        planner.draft(request, Configured())


def test_a_draft_holds_while_its_files_and_settings_stay_the_same(planner, tmp_path):
    (tmp_path / "main.sql").write_text("\\ir included.sql\n")
    (tmp_path / "included.sql").write_text("select 1;\n")
    args = ("-f", str(tmp_path / "main.sql"))
    request = single_stage(prepare_kind="psql", image_id="postgres", psql_args=args)
    configured = Configured(settings={"work_mem": "8MB"})
    draft = planner.draft(request, configured)
    assert draft.holds(configured)
    assert not draft.holds(Configured())
    assert not draft.holds(replace(configured, base=BaseRecipe(roles=("app",))))
    (tmp_path / "included.sql").write_text("select 1, 2;\n")
    assert not draft.holds(configured)
