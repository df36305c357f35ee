"""Which states of a chain are made: those that are worth their cost, and those that are wanted."""

from contextlib import closing

import pytest
from support.prepare_fakes import FakeCluster, World
from support.waiting import eventually

from sqlrs_engine.errors import NotFound
from sqlrs_engine.postgres.errors import ServerUnusable
from sqlrs_engine.prepare.build.stretch import StateCost
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store import StateFilter

STEPS = 10


@pytest.fixture
def world(tmp_path, monkeypatch):
    costs(monkeypatch, 1000)
    world = World(tmp_path)
    yield world
    world.close()


def costs(monkeypatch, seconds):
    """Let a state seem to cost this much."""
    monkeypatch.setattr(StateCost, "took", lambda cost, took: None)
    monkeypatch.setattr(StateCost, "__init__", lambda cost: setattr(cost, "seconds", seconds))


def chain(count=STEPS, **other):
    """The arguments of a chain; ``other`` replaces steps by number."""
    texts = [other.get(f"step{n}", f"echo {n} >> $DATA") for n in range(count)]
    return [each for text in texts for each in ("-c", text)]


def files(world, job):
    """The numbers of the steps whose states have files."""
    tasks = [t for t in world.store.jobs.tasks(job.job_id) if t.type == "state_execute"]
    return [at for at, task in enumerate(tasks) if world.states.exists(task.output_state_id)]


def cached(world, job):
    tasks = world.store.jobs.tasks(job.job_id)
    return sum(bool(task.cached) for task in tasks if task.type == "state_execute")


def lines(count=STEPS):
    return "".join(f"{n}\n" for n in range(count))


def test_cheap_steps_share_a_server_and_the_last_ones_get_states(world):
    job = world.prepare(*chain())
    assert job.status == "succeeded", job.error
    assert files(world, job) == [7, 8, 9]
    assert world.content(job.result["state_id"]) == lines()
    # The empty cluster's server is the first.
    assert sum(cluster.log.count("start") for cluster in world.clusters) == 3
    assert len(world.store.states.find(StateFilter())) == STEPS
    assert {t.status for t in world.store.jobs.tasks(job.job_id)} == {"succeeded"}


def test_expensive_steps_get_states_each(tmp_path, monkeypatch):
    costs(monkeypatch, 0)
    with closing(World(tmp_path)) as world:
        assert files(world, world.prepare(*chain())) == [*range(STEPS)]


def test_an_edit_runs_the_steps_since_the_last_state_again(world):
    world.prepare(*chain())
    job = world.prepare(*chain(step8="echo new >> $DATA"))
    assert cached(world, job) == 8
    job = world.prepare(*chain(step2="echo new >> $DATA"))
    assert job.status == "succeeded"
    assert cached(world, job) == 0
    assert world.content(job.result["state_id"]) == lines().replace("2\n", "new\n")


def test_a_miss_is_explained_by_the_recipes_of_states_without_files(world):
    one = world.prepare(*chain())
    request = world.request(*chain(step2="echo new >> $DATA"))
    plan = world.service.plan(request)
    first = world.store.jobs.tasks(one.job_id)[2].output_state_id
    assert plan.steps[0].state_id == first
    assert len(world.store.states.recipes(plan.steps[1].state_id, 10)) == 1


def test_a_step_that_fails_keeps_the_states_before_its_stretch(world):
    costs_nothing = world.prepare(*chain(5))
    job = world.prepare(*chain(5), "-c", "echo 5 >> $DATA", "-c", "exit 3", "-c", "echo", "-c", "x")
    assert job.status == "failed"
    statuses = {t.task_id: t.status for t in world.store.jobs.tasks(job.job_id)}
    assert (statuses["execute-5"], statuses["execute-6"]) == ("succeeded", "failed")
    assert world.files.workspaces() == []
    assert files(world, costs_nothing) == [2, 3, 4]


def test_a_stretch_ends_where_another_job_waits_for_the_state(world, tmp_path):
    started, go_on = tmp_path / "started", tmp_path / "go-on"
    blocking = f"touch {started}; until [ -e {go_on} ]; do sleep 0.02; done; echo 3 >> $DATA"
    first = world.submit(*chain(step3=blocking))
    eventually(started.exists, "the first job")
    second = world.submit(*chain(step3=blocking, step5="echo other >> $DATA"))
    eventually(
        lambda: any(line.startswith("waiting for another job") for line in world.logs(second)),
        "the second job",
    )
    go_on.touch()
    one, two = world.wait(first), world.wait(second)
    assert one.status == two.status == "succeeded"
    # The steps up to the fifth ran once.
    assert files(world, one) == [4, 7, 8, 9]
    assert files(world, two) == [4, 7, 8, 9]


def test_the_same_job_twice_builds_once(world, tmp_path):
    count = tmp_path / "count"
    steps = chain(step3=f"sleep 0.2; echo x >> {count}; echo 3 >> $DATA")
    jobs = [world.wait(each) for each in [world.submit(*steps) for _ in range(3)]]
    assert {job.result["state_id"] for job in jobs} == {jobs[0].result["state_id"]}
    assert count.read_text() == "x\n"


def test_a_stretch_ends_after_a_step_that_locks_its_user_out(world):
    """The step is to blame, not the one that cannot connect after it."""
    world.spoilt["check superuser"] = ServerUnusable("role is not permitted to log in")
    world.spoilt["log in"] = ServerUnusable("role is not permitted to log in")
    job = world.prepare(*chain())
    assert job.status == "failed"
    assert job.error["details"].startswith("-c echo 0 >> $DATA")


def test_a_stretch_ends_after_a_step_that_alters_settings(world, monkeypatch):
    def altered(cluster):
        text = (cluster.container / "content").read_text()
        return b"altered" if "2\n" in text else b""

    monkeypatch.setattr(FakeCluster, "altered_settings", altered)
    assert files(world, world.prepare(*chain())) == [2, 7, 8, 9]


def test_states_without_files_go_with_the_last_state_that_needs_them(world):
    job = world.prepare(*chain())
    ids = [t.output_state_id for t in world.store.jobs.tasks(job.job_id) if t.output_state_id]
    for state_id in reversed(ids[8:]):
        world.store.states.remove(state_id)
    assert len(world.store.states.find(StateFilter())) == 8
    world.store.states.remove(ids[7])
    assert world.store.states.find(StateFilter()) == []


def test_who_starts_from_a_state_without_files_is_told_to_make_it(world):
    job = world.prepare(*chain())
    first = world.store.jobs.tasks(job.job_id)[2].output_state_id
    body = {"prepare_kind": "psql", "from": {"state_id": first}, "psql_args": chain(1)}
    with pytest.raises(NotFound, match="prepare it again"):
        world.service.submit(PrepareRequest.from_json(body))


def test_files_of_a_state_that_should_have_none_are_swept(world):
    job = world.prepare(*chain())
    first = world.store.jobs.tasks(job.job_id)[2].output_state_id
    left = world.files.state_dir("", first)
    left.mkdir()
    world.states.sweep()
    assert not left.exists()
    assert files(world, job) == [7, 8, 9]
