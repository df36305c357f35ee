"""The tasks of a job (CONTRACT 4.2)."""

from pathlib import Path

from support.prepare_fakes import IMAGE, psql_plan, psql_planner
from support.prepare_requests import single_stage

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.tasks import tasks_of


def plan(*args):
    distribution = Distribution(image_id=IMAGE, version="17.1", major=17, bin_dir=Path("/nowhere"))
    request = single_stage(prepare_kind="psql", image_id="postgres:17", psql_args=args)
    return psql_plan(psql_planner(), request, distribution)


def rows(tasks):
    return [(task.position, task.task_id, task.type) for task in tasks]


def test_the_tasks_of_a_job():
    made = plan("-c", "a", "-c", "b")
    one, two = made.state_ids
    tasks = tasks_of(made, "j" * 32, "postgres:17", 1)
    assert rows(tasks) == [
        (0, "plan", "plan"),
        (1, "resolve-image", "resolve_image"),
        (2, "execute-0", "state_execute"),
        (3, "execute-1", "state_execute"),
        (4, "prepare-instance", "prepare_instance"),
    ]
    first, resolve, build, then, last = tasks
    assert first.planner_kind == "psql"
    assert (resolve.image_id, resolve.resolved_image_id) == ("postgres:17", IMAGE)
    assert (build.input_kind, build.input_id, build.output_state_id) == ("image", IMAGE, one)
    assert (build.cached, build.args_summary) == (True, "-c a")
    assert build.task_hash == made.steps[0].task_hash
    assert (then.input_kind, then.input_id, then.output_state_id) == ("state", one, two)
    assert (then.cached, then.args_summary) == (False, "-c b")
    assert (last.input_kind, last.input_id, last.instance_mode) == ("state", two, "ephemeral")
    assert [task.status for task in tasks] == ["succeeded"] * 3 + ["queued"] * 2
    assert {task.job_id for task in tasks} == {"j" * 32}


def test_a_digest_needs_no_resolving():
    made = plan("-c", "a")
    tasks = tasks_of(made, "j" * 32, IMAGE, 0)
    assert rows(tasks) == [
        (0, "plan", "plan"),
        (1, "execute-0", "state_execute"),
        (2, "prepare-instance", "prepare_instance"),
    ]
