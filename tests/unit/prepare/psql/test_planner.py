"""Plans: what makes a state another one, what does not, and the tasks of a job."""

import shutil
from pathlib import Path

import pytest
from support.prepare_fakes import psql_draft, psql_plan, psql_planner
from support.prepare_requests import single_stage

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.ids import is_state_id
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.plan import Configured

IMAGE = "postgres@sha256:" + "ab" * 32


def distribution(image_id=IMAGE):
    return Distribution(image_id=image_id, version="17.1", major=17, bin_dir=Path("/bin"))


def request(*args, **fields):
    fields.setdefault("image_id", "postgres:17")
    return single_stage(prepare_kind="psql", psql_args=args, **fields)


def plan(*args, image_id=IMAGE, settings=None, planner=None, **fields):
    planner = planner or psql_planner()
    return psql_plan(planner, request(*args, **fields), distribution(image_id), settings)


def ids(*args, **options):
    return plan(*args, **options).state_ids


@pytest.fixture
def scripts(tmp_path):
    (tmp_path / "one.sql").write_text("create table t (id int);\n")
    (tmp_path / "two.sql").write_text("insert into t values (1);\n")
    return tmp_path


def test_state_ids_are_hexadecimal_and_stable(scripts):
    args = ("-f", str(scripts / "one.sql"), "-f", str(scripts / "two.sql"))
    one = ids(*args)
    assert one == ids(*args)
    assert all(is_state_id(each) for each in one)


def test_each_step_has_the_state_of_the_one_before_as_its_parent():
    made = plan("-c", "a", "-c", "b", "-c", "a")
    first, second, third = made.steps
    assert [step.parent_state_id for step in made.steps] == [None, first.state_id, second.state_id]
    assert len({step.state_id for step in made.steps}) == 3
    assert first.task_hash == third.task_hash
    assert made.image_id == IMAGE


def test_requests_that_begin_alike_share_states():
    assert ids("-c", "a", "-c", "b")[0] == ids("-c", "a", "-c", "c")[0] == ids("-c", "a")[0]


@pytest.mark.parametrize(
    "other",
    [
        ["-c", "select 2"],
        ["-c", "select 1 "],
        ["-v", "x=1", "-c", "select 1"],
        ["-v", "x=2", "-c", "select 1"],
        ["-v", "x", "-c", "select 1"],
        ["-v", "x=1", "-v", "y=2", "-c", "select 1"],
        ["-v", "y=2", "-v", "x=1", "-c", "select 1"],
        ["-1", "-c", "select 1"],
        ["-1", "-1", "-c", "select 1"],
        ["-P", "null=x", "-c", "select 1"],
        ["-c", "select 0", "-c", "select 1"],
        [],
    ],
)
def test_every_option_and_input_is_part_of_the_state_id(other):
    assert ids(*other)[-1] != ids("-c", "select 1")[-1]


def test_variables_in_another_order_make_another_state():
    one = ids("-v", "x=1", "-v", "y=2", "-c", "x")
    assert one != ids("-v", "y=2", "-v", "x=1", "-c", "x")


def test_variables_are_part_of_the_state_id(scripts):
    script = str(scripts / "one.sql")
    assert ids("-v", "x=1", "-f", script) != ids("-v", "x=2", "-f", script)
    assert ids("-1", "-f", script) != ids("-f", script)


def test_the_image_is_part_of_the_state_id():
    assert ids("-c", "x") != ids("-c", "x", image_id="postgres@sha256:" + "cd" * 32)
    assert ids("-c", "x", image_id="x") == plan("-c", "x", image_id="x").state_ids


def test_the_settings_are_part_of_the_state_id():
    plain = ids("-c", "x")
    assert plain != ids("-c", "x", settings={"timezone": "UTC"})
    one = ids("-c", "x", settings={"timezone": "UTC", "work_mem": "4MB"})
    assert one == ids("-c", "x", settings={"work_mem": "4MB", "timezone": "UTC"})


def test_a_command_and_a_script_of_the_same_text_have_different_states(scripts):
    (scripts / "x.sql").write_text("select 1; select 2")
    text = "select 1; select 2"
    script = ids("-f", str(scripts / "x.sql"))
    assert ids("-c", text) != script
    assert ids("-f", "-", stdin=text) == script
    assert ids(*[]) != ids("-f", "-", stdin="")


def test_names_and_places_of_files_are_not_part_of_the_state_id(scripts, tmp_path):
    one = scripts / "one.sql"
    before = ids("-f", str(one))
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    one.rename(moved / "renamed.sql")
    assert ids("-f", str(moved / "renamed.sql")) == before


def test_spellings_of_options_are_not_part_of_the_state_id(scripts):
    script = str(scripts / "one.sql")
    expected = ids("-v", "x=1", "-f", script)
    for args in (
        ["-X", "-vx=1", "-f", script],
        ["--set=x=1", "-v", "ON_ERROR_STOP=1", f"--file={script}"],
        ["--no-psqlrc", "-f", script, "-v", "x=1"],
    ):
        assert ids(*args) == expected


def test_the_tag_of_the_image_is_not_part_of_the_state_id():
    assert ids("-c", "x") == ids("-c", "x", image_id=IMAGE)
    one = psql_plan(psql_planner(), request("-c", "x", image_id="postgres"), distribution())
    assert one.state_ids == ids("-c", "x")


def test_the_content_of_every_file_is_part_of_the_state_id(scripts):
    (scripts / "main.sql").write_text("\\i one.sql\n\\copy t from data.csv\n")
    (scripts / "data.csv").write_text("1\n")
    seen = [ids("-f", str(scripts / "main.sql"))]
    for name in ("main.sql", "one.sql", "data.csv"):
        with (scripts / name).open("a") as file:
            file.write("\n")
        seen.append(ids("-f", str(scripts / "main.sql")))
    assert len({each[0] for each in seen}) == 4


def test_relative_includes_of_a_command_start_at_the_work_dir(scripts, tmp_path):
    sub = tmp_path / "sub"
    sub.mkdir()
    (sub / "one.sql").write_text("select 'sub';\n")
    here = plan("-c", "\\i one.sql", work_dir=str(scripts))
    assert [read.path for read in here.steps[0].files] == [scripts / "one.sql"]
    assert here.steps[0].directory == scripts
    # Without one, at the first file of the job.
    there = plan("-c", "\\i one.sql", "-f", str(sub / "one.sql"))
    assert [step.directory for step in there.steps] == [sub, sub]
    assert there.steps[0].files[0].path == sub / "one.sql"


@pytest.fixture
def checkout(tmp_path):
    """A directory from which scripts are run, with the same names in two places."""
    (tmp_path / "db").mkdir()
    (tmp_path / "x.sql").write_text("select 'top';\n")
    (tmp_path / "db/x.sql").write_text("select 'beside';\n")
    return tmp_path


def reads(made):
    return [[read.path for read in step.files] for step in made.steps]


def test_psql_works_in_the_work_dir_or_else_beside_the_script(checkout):
    main = checkout / "db/main.sql"
    main.write_text("\\i x.sql\n\\ir x.sql\n")
    args = ("-f", str(main), "-c", "\\i x.sql")
    beside, top = checkout / "db/x.sql", checkout / "x.sql"
    there = plan(*args)
    assert reads(there) == [[main, beside, beside], [beside]]
    assert [step.directory for step in there.steps] == [checkout / "db"] * 2
    here = plan(*args, work_dir=str(checkout))
    assert reads(here) == [[main, top, beside], [top]]
    assert [step.directory for step in here.steps] == [checkout] * 2
    assert plan(*args, work_dir=str(checkout / "db")).state_ids == there.state_ids


def test_outputs_of_options_are_in_the_work_dir(checkout):
    main = checkout / "db/main.sql"
    main.write_text("\\i x.sql\n")
    args = ("-o", "x.sql", "-f", str(main))
    for fields, written in (({}, "db/x.sql"), ({"work_dir": str(checkout)}, "x.sql")):
        (step,) = plan(*args, **fields).steps
        assert step.volatile == f"{main}:1: {checkout}/{written} is written by the script itself"


@pytest.mark.parametrize(
    "script",
    [
        "select 1;\n",
        "\\ir x.sql\n",
        "copy t from program 'pwd';\n",
        "copy t to program 'cat';\n",
        "\\o out.txt\n",
    ],
)
def test_the_work_dir_is_not_part_of_the_state_id(checkout, script):
    main = checkout / "db/main.sql"
    main.write_text(script)
    args = ("-f", str(main))
    assert ids(*args) == ids(*args, work_dir=str(checkout)) == ids(*args, work_dir="/")


@pytest.mark.parametrize(
    "script",
    [
        "\\set v `pwd`\n",
        "\\if `test -e x.sql`\n\\endif\n",
        "\\! make\n",
        "\\o |tee out.txt\n",
        "select 1 \\g |tee out.txt\n",
        "\\copy t from program 'cat x.sql'\n",
        "\\copy t to program 'cat > x.csv'\n",
    ],
)
def test_the_work_dir_of_programs_counts_relative_to_the_script(checkout, tmp_path_factory, script):
    main = checkout / "db/main.sql"
    main.write_text(script)
    args = ("-f", str(main))
    there = ids(*args)
    (checkout / "link").symlink_to("db")
    for same in (checkout / "db", checkout / "link", f"{checkout}/db/../db/"):
        assert ids(*args, work_dir=str(same)) == there
    here = ids(*args, work_dir=str(checkout))
    assert here not in (there, ids(*args, work_dir=str(checkout.parent)))
    assert plan(*args, work_dir=str(checkout)).steps[0].recipe["directory"] == ".."
    moved = tmp_path_factory.mktemp("moved") / "checkout"
    shutil.copytree(checkout, moved, symlinks=True)
    assert ids("-f", str(moved / "db/main.sql"), work_dir=str(moved)) == here


def test_a_volatile_step_and_those_after_it_get_ids_of_their_own():
    args = ("-c", "select 1", "-f", "-", "-c", "select 2")
    stdin = "\\i -\n"
    one, other = (plan(*args, stdin=stdin, work_dir="/") for _ in range(2))
    assert one.state_ids[0] == other.state_ids[0]
    assert one.state_ids[1] != other.state_ids[1]
    assert one.state_ids[2] != other.state_ids[2]
    assert [bool(step.volatile) for step in one.steps] == [False, True, False]
    assert one.signature != other.signature


def test_a_file_that_only_psql_knows_is_cacheable_where_it_can_be_observed(scripts):
    stdin = "select 'one.sql' as f \\gset\n\\i :f\n"
    assert plan("-f", "-", stdin=stdin).steps[0].volatile
    (step,) = plan("-f", "-", stdin=stdin, work_dir=str(scripts)).steps
    assert step.volatile is None
    assert "only psql knows" in step.overlooked((), ())
    assert step.overlooked([str(scripts / "one.sql")], ()) is None
    both = [str(scripts / "one.sql"), str(scripts / "two.sql")]
    assert "other programs" in step.overlooked(both, ())
    (scripts / "one.sql").write_text("\\i two.sql\n")
    assert step.overlooked(both, ()) is None
    assert "two.sql is not observed" in step.overlooked(both[:1], ())
    (scripts / "one.sql").write_text("\\i :g\n")
    assert "which file \\i :g reads" in step.overlooked(both[:1], ())
    (scripts / "one.sql").unlink()
    assert "cannot read file" in step.overlooked(both[:1], ())


def test_a_variable_that_an_option_unsets_is_unknown():
    assert plan("-v", "f=a", "-v", "f", "-c", "\\i :f").steps[0].volatile


def test_variables_apply_to_all_steps_wherever_they_stand(scripts):
    args = ("-c", "\\i :f", "-v", f"f={scripts}/one.sql", "-c", "\\i :f")
    assert [bool(step.volatile) for step in plan(*args).steps] == [False, False]


def test_changed_files_of_a_step_are_named(scripts):
    script = scripts / "one.sql"
    step = plan("-f", str(script)).steps[0]
    assert step.changed_files == []
    script.unlink()
    assert step.changed_files == [script]


def test_a_recipe_tells_what_a_step_is_made_of(scripts):
    script = str(scripts / "one.sql")
    file, command = plan("-v", "x=1", "-f", script, "-c", "select 1").steps
    assert file.recipe["input"] == "script"
    assert file.recipe["source"] == "file"
    assert file.recipe["options"] == [["v", "x=1"]]
    assert [each["path"] for each in file.recipe["files"]] == [script]
    assert command.recipe["input"] == command.recipe["source"] == "command"
    assert command.recipe["files"] == []


def test_an_include_that_is_missing_is_refused(scripts):
    (scripts / "main.sql").write_text("\\i missing.sql\n")
    with pytest.raises(InvalidArgument, match=r"main\.sql:1: .*missing\.sql"):
        psql_draft(psql_planner(), request("-f", str(scripts / "main.sql")))


def draft(*args):
    return psql_draft(psql_planner(), request(*args))


def test_a_draft_holds_while_its_files_and_settings_stay_the_same(scripts):
    made = draft("-f", str(scripts / "one.sql"))
    assert made.holds(Configured())
    assert not made.holds(Configured(settings={"client_encoding": "SJIS"}))
    (scripts / "one.sql").write_text("create table changed ();\n")
    assert not made.holds(Configured())


@pytest.mark.parametrize(
    "script",
    [
        "\\if :x\n\\i new.sql\n\\endif\n",
        "\\set ON_ERROR_STOP off\n\\cd new\n",
        "\\set ON_ERROR_STOP off\n\\i new.sql\n",
        "\\! make\n\\i one.sql\n",
    ],
)
def test_a_draft_that_depends_on_absent_files_or_on_programs_does_not_hold(scripts, script):
    (scripts / "main.sql").write_text(script)
    assert not draft("-f", str(scripts / "main.sql")).holds(Configured())


def test_a_signature_is_what_identical_jobs_share():
    one = plan("-c", "x")
    assert one.signature == plan("-Xcx").signature
    assert one.signature != plan("-c", "x", plan_only=True).signature
    assert one.signature != plan("-c", "y").signature
