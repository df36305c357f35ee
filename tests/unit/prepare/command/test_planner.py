"""Plans of commands: what makes another state, and what the explanation of a miss names."""

import shutil

import pytest

from sqlrs_engine.cache.differences import differences
from sqlrs_engine.errors import InvalidArgument, ProgramUnavailable
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.command.planner import CommandPlanner
from sqlrs_engine.prepare.file_reads import FileDigests
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.plan import Planning
from sqlrs_engine.prepare.stages import CommandStage
from sqlrs_engine.processes.cancellation import Cancellation


class Workshop:
    """An application, and the plans of its command."""

    def __init__(self, app):
        self.app = app
        self.log = []
        self.settings = {}
        app.write("migrations/1.sql", "migrations/2.sql", "notes.txt")
        self.script("tool", "#!/bin/sh\n")

    def script(self, path, text):
        self.app.write(path, text=text)
        (self.app.root / path).chmod(0o755)

    def draft(self, *argv, **fields):
        body = {
            "argv": argv or ("./tool", "up"),
            "inputs": ["migrations/**"],
            "work_dir": str(self.app.root),
            **fields,
        }
        return CommandPlanner(FileDigests()).draft(CommandStage.from_json(body))

    def step(self, *argv, parent=None, **fields):
        distribution = Distribution(
            image_id="postgres@sha256:" + "ab" * 32,
            version="17.1",
            major=17,
            bin_dir=self.app.root,
        )
        planning = Planning(
            distribution=distribution,
            base=BaseRecipe().on(distribution),
            settings=self.settings,
            context=JobContext(Cancellation(), self.log.append),
        )
        (step,) = self.draft(*argv, **fields).plan(parent, planning).steps
        return step

    def state(self, *argv, **fields):
        return self.step(*argv, **fields).state_id

    def changes(self, before, *argv, **fields):
        """Return how a step differs from an earlier one, which it must not be."""
        step = self.step(*argv, **fields)
        assert step.state_id != before.state_id
        return [(change.kind, change.name) for change in differences(step.recipe, before.recipe)]


@pytest.fixture
def shop(app):
    return Workshop(app)


def test_a_command_is_one_step(shop):
    step = shop.step("./tool", "up", "a b")
    assert step.task() == {"args_summary": "./tool up 'a b'"}
    assert (step.kind, step.tcp, step.volatile) == ("command", True, None)
    assert {file.path.name for file in step.files} == {"tool", "1.sql", "2.sql"}
    assert shop.draft("./tool", "up").normalized == "./tool up"
    assert step.state_id == shop.state("./tool", "up", "a b")


def test_a_checkout_elsewhere_has_the_same_states(shop, tmp_path):
    here = shop.state()
    shutil.copytree(shop.app.root, tmp_path / "elsewhere")
    assert shop.state(work_dir=str(tmp_path / "elsewhere")) == here


def test_what_does_not_count(shop):
    here = shop.state()
    shop.app.write("notes.txt", text="new")
    assert shop.state() == here
    assert shop.state(base_env={"PATH": "/bin", "HOME": "/elsewhere"}) == here
    assert shop.state(inputs=["migrations/*.sql"]) == here


def test_the_parent_and_settings_count(shop):
    here = shop.state()
    assert shop.state(parent="ab" * 32) != here
    shop.settings = {"work_mem": "1MB"}
    assert shop.state() != here


def test_changed_inputs_are_named(shop):
    before = shop.step()
    shop.app.write("migrations/2.sql", text="new")
    assert shop.changes(before) == [("file", "migrations/2.sql")]
    shop.app.write("migrations/3.sql")
    (shop.app.root / "migrations/1.sql").rename(shop.app.root / "migrations/0.sql")
    assert shop.changes(before) == [
        ("file", "migrations/0.sql"),
        ("file", "migrations/1.sql"),
        ("file", "migrations/2.sql"),
        ("file", "migrations/3.sql"),
    ]


def test_an_input_that_becomes_executable_is_named(shop):
    before = shop.step()
    (shop.app.root / "migrations/1.sql").chmod(0o755)
    assert shop.changes(before) == [("file", "migrations/1.sql")]


def test_changed_arguments_are_named(shop):
    before = shop.step("./tool", "up", "--to", "1")
    assert shop.changes(before, "./tool", "up", "--to", "2") == [
        ("argument", "2"),
        ("argument", "1"),
    ]
    assert shop.changes(before, "./tool", "up") == [("argument", "--to"), ("argument", "1")]
    assert shop.changes(before, "./tool", "--to", "1", "up") == [
        ("argument", "order of the arguments")
    ]


def test_changed_variables_are_named_without_their_values(shop):
    before = shop.step(env={"A": "secret", "B": "b"})
    assert shop.changes(before, env={"A": "other", "C": "c"}) == [
        ("variable", "A"),
        ("variable", "B"),
        ("variable", "C"),
    ]
    assert shop.state(env={"B": "b", "A": "secret"}) == before.state_id


def test_a_changed_program_is_named(shop):
    before = shop.step()
    shop.script("tool", "#!/bin/sh\necho\n")
    assert shop.changes(before) == [("tool", "./tool")]


def test_a_version_stands_for_the_program(shop):
    shop.script("version", "#!/bin/sh\necho tool 1.2\n")
    asks = {"version_command": ["./version"]}
    before = shop.step(**asks)
    assert shop.log == ["version of ./tool: tool 1.2"]
    shop.script("tool", "#!/bin/sh\necho\n")
    assert shop.state(**asks) == before.state_id
    shop.script("version", "#!/bin/sh\necho tool 1.3\n")
    assert shop.changes(before, **asks) == [("tool", "./tool")]


def test_inputs_may_be_none_but_not_forgotten(shop):
    assert len(shop.step(inputs=[]).files) == 1
    with pytest.raises(InvalidArgument, match="needs inputs"):
        shop.draft(inputs=None)


@pytest.mark.parametrize("field", ["argv", "version_command"])
@pytest.mark.parametrize("word", ["a\0b", "a\udcff"])
def test_words_that_no_program_can_get(shop, field, word):
    with pytest.raises(InvalidArgument):
        shop.draft(**{field: ["./tool", word]})


def test_a_missing_program_is_an_error(shop):
    with pytest.raises(ProgramUnavailable):
        shop.draft("nope")


class TestHolds:
    """A draft is used while all that was read for it is unchanged."""

    def test_it_holds(self, shop):
        assert shop.draft().holds()

    @pytest.mark.parametrize("path", ["migrations/1.sql", "migrations/3.sql", "tool"])
    def test_it_does_not_hold_after_a_change(self, shop, path):
        draft = shop.draft()
        shop.app.write(path, text="something new")
        assert not draft.holds()


class TestChangedFiles:
    """After the run, the inputs must be as they were."""

    def test_none(self, shop):
        assert shop.step().changed_files == []

    def test_an_input_written_with_the_same_content_is_unchanged(self, shop):
        step = shop.step()
        shop.app.write("migrations/1.sql")
        assert step.changed_files == []

    @pytest.mark.parametrize("path", ["migrations/1.sql", "migrations/3.sql", "tool"])
    def test_others_are_named(self, shop, path):
        step = shop.step()
        shop.app.write(path, text="something new")
        assert step.changed_files == [shop.app.root / path]

    def test_the_last_of_the_inputs_is_gone(self, shop):
        step = shop.step(inputs=["migrations/1.sql"])
        (shop.app.root / "migrations/1.sql").unlink()
        assert step.changed_files == [shop.app.root / "migrations/1.sql"]
