"""Explain: hit or miss, the nearest cached state, and the inputs that made it a miss."""

from dataclasses import dataclass

import pytest
from support.cache_fakes import CacheWorld
from support.instance_fakes import IMAGE
from support.prepare_fakes import psql_plan, psql_planner
from support.prepare_requests import single_stage

from sqlrs_engine.cache.differences import Change, differences
from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.httpapi import spec
from sqlrs_engine.postgres.base_recipe import BaseRecipe

OTHER_IMAGE = "postgres@sha256:" + "cd" * 32


@dataclass
class FakeDistribution:
    image_id: str
    locale: str | None = None


class Workshop(CacheWorld):
    """A cache whose plans are made by the real planner, of scripts in a directory."""

    def __init__(self, root):
        super().__init__(root)
        self.scripts = root / "scripts"
        self.scripts.mkdir()
        self.image, self.settings, self.base = IMAGE, {}, BaseRecipe()
        self.plan = self.make_plan
        self.numbers = iter(range(1, 100))

    def make_plan(self, request):
        distribution = FakeDistribution(self.image)
        return psql_plan(psql_planner(), request, distribution, self.settings, self.base)

    def write(self, name, text):
        (self.scripts / name).write_text(text)
        return str(self.scripts / name)

    def request(self, *args, stdin=None):
        return single_stage(
            prepare_kind="psql",
            image_id="postgres:17",
            psql_args=args,
            stdin=stdin,
            work_dir=str(self.scripts),
        )

    def prepare(self, *args, stdin=None, steps=None):
        """Cache the states of a preparation, or of its first steps; return their ids."""
        plan = self.make_plan(self.request(*args, stdin=stdin))
        for step in plan.steps[:steps]:
            if self.store.states.get(step.state_id) is None:
                self.add_planned(step)
        return plan.state_ids

    def add_planned(self, step):
        parent = step.parent_state_id
        self.add(
            int(step.state_id, 16),
            parent=None if parent is None else int(parent, 16),
            image=self.image,
            age=1000 - next(self.numbers),
            recipe=step.recipe,
        )

    def explain(self, *args, stdin=None):
        return self.report.explain(self.request(*args, stdin=stdin))

    def changes(self, *args, stdin=None):
        explained = self.explain(*args, stdin=stdin)
        assert explained["decision"] == "miss"
        return [(each["kind"], each["name"], each["step"]) for each in explained["changes"]]


@pytest.fixture
def shop(tmp_path):
    shop = Workshop(tmp_path)
    yield shop
    shop.close()


def test_a_hit_is_as_upstream_says_it(shop):
    ids = shop.prepare("-c", "select 1", "-c", "select 2")
    assert shop.explain("-c", "select 1", "-c", "select 2") == {
        "decision": "hit",
        "reason_code": "exact_state_match",
        "signature": shop.make_plan(shop.request("-c", "select 1", "-c", "select 2")).signature,
        "matched_state_id": ids[-1],
        "resolved_image_id": IMAGE,
    }


def test_a_miss_in_an_empty_cache(shop):
    explained = shop.explain("-c", "select 1")
    assert explained == {
        "decision": "miss",
        "reason_code": "no_matching_state",
        "signature": explained["signature"],
        "resolved_image_id": IMAGE,
        "missing_steps": 1,
        "changes": [],
    }


def test_the_nearest_state_is_the_last_cached_of_the_chain(shop):
    args = ("-c", "select 1", "-c", "select 2", "-c", "select 3")
    ids = shop.prepare(*args, steps=2)
    explained = shop.explain(*args)
    assert (explained["nearest_state_id"], explained["missing_steps"]) == (ids[1], 1)
    assert explained["changes"] == []  # nothing was ever made of it


def test_what_is_before_the_last_cached_state_may_be_gone(shop):
    args = ("-c", "select 1", "-c", "select 2", "-c", "select 3")
    ids = shop.prepare(*args, steps=2)
    shop.files.discard(shop.files.state_dir(IMAGE, ids[0]))
    explained = shop.explain(*args)
    assert (explained["nearest_state_id"], explained["missing_steps"]) == (ids[1], 1)


def test_a_state_without_its_files_is_a_miss(shop):
    (state,) = shop.prepare("-c", "select 1")
    shop.files.discard(shop.files.state_dir(IMAGE, state))
    explained = shop.explain("-c", "select 1")
    assert (explained["decision"], explained["changes"]) == ("miss", [])


def test_a_changed_file_is_named(shop):
    one, two = shop.write("one.sql", "select 1;"), shop.write("two.sql", "select 2;")
    shop.prepare("-f", one, "-f", two)
    shop.write("two.sql", "select 3;")
    assert shop.changes("-f", one, "-f", two) == [("file", two, 1)]


def test_a_changed_include_is_named_and_not_what_includes_it(shop):
    main = shop.write("main.sql", "\\ir part.sql\n\\copy t from 'data.csv'\n")
    part = shop.write("part.sql", "create table t (n int);")
    data = shop.write("data.csv", "1\n")
    shop.prepare("-f", main)
    shop.write("part.sql", "create table t (n bigint);")
    assert shop.changes("-f", main) == [("file", part, 0)]
    shop.write("data.csv", "2\n")
    assert shop.changes("-f", main) == [("file", part, 0), ("file", data, 0)]


def test_an_include_that_came_or_went_is_named(shop):
    main = shop.write("main.sql", "\\ir a.sql\n")
    first = shop.write("a.sql", "select 1;")
    second = shop.write("b.sql", "select 2;")
    shop.prepare("-f", main)
    shop.write("main.sql", "\\ir b.sql\n")
    assert shop.changes("-f", main) == [("file", main, 0), ("file", second, 0), ("file", first, 0)]


def test_a_moved_checkout_is_compared_by_content_and_name(shop):
    (shop.scripts / "old").mkdir()
    (shop.scripts / "new").mkdir()
    for place in ("old", "new"):
        shop.write(f"{place}/main.sql", "\\ir part.sql\n\\ir same.sql\n")
        shop.write(f"{place}/same.sql", "select 1;")
        shop.write(f"{place}/part.sql", f"select '{place}';")
    shop.prepare("-f", str(shop.scripts / "old/main.sql"))
    moved = str(shop.scripts / "new/main.sql")
    assert shop.changes("-f", moved) == [("file", str(shop.scripts / "new/part.sql"), 0)]


def test_later_steps_are_compared_as_well(shop):
    names = [shop.write(f"{name}.sql", f"select '{name}';") for name in ("one", "two", "three")]
    args = [word for name in names for word in ("-f", name)]
    shop.prepare(*args)
    shop.write("one.sql", "select 'other';")
    shop.write("three.sql", "select 'other';")
    explained = shop.explain(*args)
    assert "nearest_state_id" not in explained
    assert explained["missing_steps"] == 3
    assert shop.changes(*args) == [("file", names[0], 0), ("file", names[2], 2)]


def test_a_changed_variable_is_named_without_its_value(shop):
    main = shop.write("main.sql", "select :x;")
    shop.prepare("-v", "x=secret", "-v", "y=1", "-f", main)
    assert shop.changes("-v", "x=other", "-v", "y=1", "-f", main) == [("variable", "x", 0)]
    assert shop.changes("-v", "x=secret", "-f", main) == [("variable", "y", 0)]
    assert "secret" not in str(shop.explain("-v", "y=1", "-f", main))


def test_a_changed_argument_is_named(shop):
    main = shop.write("main.sql", "select 1;")
    shop.prepare("-v", "a=1", "-v", "b=2", "-f", main)
    assert shop.changes("-1", "-v", "a=1", "-v", "b=2", "-f", main) == [("argument", "-1", 0)]
    assert shop.changes("-v", "b=2", "-v", "a=1", "-f", main) == [
        ("argument", "order of the options", 0)
    ]
    assert shop.changes("-v", "a=1", "-v", "b=2", "--csv", "-P", "null=x", "-f", main) == [
        ("argument", "--csv", 0),
        ("argument", "-P null=x", 0),
    ]


def test_a_changed_command_or_standard_input_is_named(shop):
    shop.prepare("-c", "select 1", "-f", "-", stdin="select 2;")
    assert shop.changes("-c", "select 1", "-f", "-", stdin="select 3;") == [("stdin", "-f -", 1)]
    assert shop.changes("-c", "select 4", "-f", "-", stdin="select 2;") == [
        ("command", "-c select 4", 0)
    ]


def test_another_working_directory_of_programs_is_an_argument():
    now = {"input": "script", "content": "x", "source": "file", "directory": ".."}
    before = {name: value for name, value in now.items() if name != "directory"}
    assert differences(now, before) == [Change("argument", "work_dir")]
    assert differences(now, now) == []


def test_the_same_text_by_other_means_is_another_argument(shop):
    main = shop.write("main.sql", "select 1;")
    shop.prepare("-f", main)
    assert shop.changes("-c", "select 1;") == [("argument", "-c select 1;", 0)]


def test_files_of_other_names_are_not_compared(shop):
    shop.prepare("-f", shop.write("schema.sql", "create table t ();"))
    assert shop.changes("-f", shop.write("users.sql", "create role u;")) == []


def test_another_image_is_a_change(shop):
    main = shop.write("main.sql", "select 1;")
    shop.prepare("-f", main, "-c", "select 2")
    shop.image = OTHER_IMAGE
    assert shop.changes("-f", main, "-c", "select 2") == [("image", IMAGE, 0)]


def test_changed_roles_and_locale_of_the_base_state_are_named(shop):
    shop.prepare("-c", "select 1", "-c", "select 2")
    shop.base = BaseRecipe(roles=("app",), locale="en_US.utf8")
    assert shop.changes("-c", "select 1", "-c", "select 2") == [
        ("setting", "postgres.locale", 0),
        ("setting", "postgres.roles", 0),
    ]


def test_a_state_of_an_engine_whose_base_states_had_no_recipe_is_a_miss_that_says_so(shop):
    (step,) = shop.make_plan(shop.request("-c", "select 1")).steps
    recipe = {name: value for name, value in step.recipe.items() if name != "base"}
    shop.add(1, image=IMAGE, recipe=recipe)
    ((kind, name, number),) = shop.changes("-c", "select 1")
    assert (kind, number) == ("image", 0)
    assert "earlier version" in name


def test_changed_settings_are_named(shop):
    shop.prepare("-c", "select 1")
    shop.settings = {"wal_level": "logical"}
    assert shop.changes("-c", "select 1") == [("setting", "wal_level", 0)]


def test_what_cannot_be_cached_says_why(shop):
    shop.prepare("-f", "-", stdin="\\i -\n")
    ((kind, reason, step),) = shop.changes("-f", "-", stdin="\\i -\n")
    assert (kind, step) == ("volatile", 0)
    assert "reads the rest of the script" in reason


def test_of_many_alike_the_one_with_the_fewest_changes_is_taken(shop):
    main = shop.write("main.sql", "select :x, :y;")
    shop.prepare("-v", "x=1", "-v", "y=1", "-f", main)
    shop.prepare("-v", "x=2", "-v", "y=2", "-f", main)
    assert shop.changes("-v", "x=1", "-v", "y=3", "-f", main) == [("variable", "y", 0)]


def test_states_without_a_recipe_are_passed_over(shop):
    shop.add(7)
    assert shop.changes("-c", "select 1") == []


def test_what_cannot_be_planned_is_refused(shop):
    with pytest.raises(InvalidArgument):
        shop.explain("-h", "elsewhere", "-c", "select 1")


def test_content_put_together_otherwise_is_an_argument():
    before = {"source": "file", "content": "a", "files": [{"path": "/x", "digest": "1"}]}
    now = before | {"content": "b", "summary": "-f /x"}
    assert differences(now, before) == [Change("argument", "-f /x")]


def test_the_answer_has_documented_fields(shop):
    schema = spec.document()["components"]["schemas"]["CacheDecision"]
    shop.prepare("-c", "select 1")
    for explained in (shop.explain("-c", "select 1"), shop.explain("-c", "select 2")):
        assert set(schema["required"]) <= set(explained)
        if schema.get("additionalProperties") is False:
            assert set(explained) <= set(schema["properties"])


def test_changes_of_how_a_dump_is_restored_are_named():
    before = {
        "input": "dump",
        "source": "dump",
        "content": "aa",
        "files": [{"path": "/srv/prod.dump", "digest": "aa"}],
        "options": [["--no-owner", None], ["--schema", "app"]],
        "tool": "pg_restore 17",
        "create_roles": True,
    }
    changed = {
        "content": ("bb", Change("file", "/srv/prod.dump")),
        "options": ([["--no-owner", None]], Change("argument", "--schema app")),
        "tool": ("pg_restore 18", Change("tool", "pg_restore 18")),
        "create_roles": (False, Change("argument", "create_roles")),
    }
    assert differences(before, before) == []
    for name, (value, change) in changed.items():
        now = {**before, name: value}
        if name == "content":
            now["files"] = [{"path": "/srv/prod.dump", "digest": value}]
        assert differences(now, before) == [change]
