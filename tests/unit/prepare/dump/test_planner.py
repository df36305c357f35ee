import hashlib

import pytest
from support.dump_archives import write_archive

from sqlrs_engine.errors import DumpMissing, DumpUnusable, InvalidArgument
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.dump import DumpPlanner, Memory
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Planning
from sqlrs_engine.prepare.stages import DumpStage
from sqlrs_engine.processes.cancellation import Cancellation


class Kept:
    """Kept dumps: a directory."""

    def __init__(self, root):
        self.root = root
        self.asked = []

    def path(self, dump_id):
        self.asked.append(dump_id)
        path = self.root / dump_id
        if not path.exists():
            raise DumpMissing("gone", dump_id)
        return path


@pytest.fixture
def kept(tmp_path):
    root = tmp_path / "kept"
    root.mkdir()
    return Kept(root)


@pytest.fixture
def distribution(tmp_path):
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "pg_restore").touch()
    return Distribution(
        image_id="postgres@sha256:" + "ab" * 32, version="17.2", major=17, bin_dir=bin_dir
    )


@pytest.fixture
def planner(tmp_path, kept, distribution):
    return DumpPlanner(Memory(tmp_path / "dumps.json"), lambda: [distribution], kept=kept)


@pytest.fixture
def plan(planner, distribution):
    def step(parent=None, settings=None, **fields):
        planning = Planning(
            distribution=distribution,
            base=BaseRecipe(),
            settings=settings or {},
            context=JobContext(Cancellation(), lambda line: None),
        )
        (found,) = planner.draft(DumpStage(**fields)).plan(parent, planning).steps
        return found

    return step


@pytest.fixture
def archive(tmp_path):
    return write_archive(tmp_path / "prod.dump", "custom")


def test_the_id_follows_from_content_options_and_program(plan, archive, tmp_path):
    path = str(archive)
    step = plan(path=path)
    assert step.task() == {"args_summary": "restore prod.dump"}
    assert step.recipe["tool"] == "pg_restore 17"
    moved = str(archive.rename(tmp_path / "moved"))
    assert plan(path=moved).state_id == step.state_id
    others = [
        plan(path=moved, restore_args=("-O",)),
        plan(path=moved, create_roles=False),
        plan(path=moved, settings={"work_mem": "1MB"}),
        plan(path=moved, parent="ab" * 32),
    ]
    assert len({each.state_id for each in (step, *others)}) == 5
    assert others[0].task() == {"args_summary": "restore moved --no-owner"}


def test_a_kept_dump_has_the_id_of_its_file(plan, archive, kept):
    raw = archive.read_bytes()
    dump_id = hashlib.sha256(raw).hexdigest()
    (kept.root / dump_id).write_bytes(raw)
    step = plan(dump_id=dump_id)
    assert step.state_id == plan(path=str(archive)).state_id
    assert step.find() == kept.root / dump_id


def test_the_id_of_a_kept_dump_outlives_its_file(plan, planner, archive, kept):
    dump_id = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(DumpMissing):
        planner.draft(DumpStage(dump_id=dump_id))
    place = archive.rename(kept.root / dump_id)
    before = plan(dump_id=dump_id)
    place.unlink()
    after = plan(dump_id=dump_id)
    assert after.state_id == before.state_id
    with pytest.raises(DumpMissing):
        after.find()


def test_bad_stages_are_refused_when_they_are_read(planner, tmp_path):
    (tmp_path / "dump.sql").write_text("select 1;\n")
    (tmp_path / "other").write_bytes(b"\x7fELF\0")
    for fields, error in (
        ({"path": str(tmp_path / "missing")}, InvalidArgument),
        ({"path": str(tmp_path / "other")}, DumpUnusable),
        ({"path": str(tmp_path / "dump.sql"), "restore_args": ("-O",)}, InvalidArgument),
    ):
        with pytest.raises(error):
            planner.draft(DumpStage(**fields))
