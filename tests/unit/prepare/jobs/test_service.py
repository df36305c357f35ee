"""Prepare jobs from submission to end, over fakes: run, cancelled, deleted, resumed."""

import errno
import logging
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from support.metric_samples import sample
from support.prepare_fakes import FULL, IMAGE, Gate, World, in_thread
from support.prepare_requests import single_stage
from support.waiting import PATIENCE, eventually

from sqlrs_engine import retry_queue
from sqlrs_engine.errors import (
    ClusterFailed,
    EngineError,
    IdempotencyKeyReused,
    ImageUnavailable,
    InvalidArgument,
    NotFound,
    RegistryUnavailable,
    StorageFull,
    Unavailable,
)
from sqlrs_engine.instances.disk_budget import Unlimited
from sqlrs_engine.postgres.errors import ServerUnusable
from sqlrs_engine.prepare.jobs import end as end_module
from sqlrs_engine.prepare.jobs import queue as queue_module
from sqlrs_engine.prepare.jobs import service as service_module
from sqlrs_engine.prepare.psql.draft import PsqlDraft
from sqlrs_engine.prepare.psql.local_files import LocalFiles
from sqlrs_engine.prepare.psql.planner import PsqlPlanner
from sqlrs_engine.store import StateFilter

# What the fake psql does: it runs its input as shell.
WRITE = "echo one >> $DATA"
SLEEP = "echo started; sleep 600"


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()


def statuses(world, job_id):
    return {task.task_id: task.status for task in world.store.jobs.tasks(job_id)}


def lookups(world):
    return {
        result: sample(world.metrics, "sqlrs_cache_lookups_total", result=result)
        for result in ("hit", "miss")
    }


def shape(world, job_id):
    """Return the job's events without times, logs left out."""
    return [
        " ".join(str(event[k]) for k in ("type", "task_id", "status") if k in event)
        for event in world.lines(job_id)
        if event["type"] != "log"
    ]


@contextmanager
def submitted(world, *args, **fields):
    """Submit a job, which waits before its plan until the end of the block; yield its id."""
    gate, resolve = Gate(), world.resolve

    def resolve_later(image, work=None):
        gate()
        return resolve(image, work)

    world.resolve = resolve_later
    try:
        job_id = world.submit(*args, **fields)
        assert gate.reached.wait(PATIENCE)
        yield job_id
    finally:
        gate.open.set()
        world.resolve = resolve


def states(world):
    return [state.state_id for state in world.store.states.find(StateFilter())]


# -- success --


def test_two_steps(world):
    job = world.prepare("-c", WRITE, "-c", "echo two >> $DATA")
    assert job.status == "succeeded"
    assert job.result == {
        "dsn": "postgres://sqlrs:secret@127.0.0.1:20000/postgres",
        "instance_id": world.instances.made[job.job_id].instance_id,
        "state_id": states(world)[-1],
        "image_id": IMAGE,
        "prepare_kind": "psql",
        "prepare_args_normalized": job.prepare_args_normalized,
    }
    assert [world.content(state) for state in states(world)] == ["one\n", "one\ntwo\n"]
    assert shape(world, job.job_id) == [
        "status queued",
        "status running",
        "task plan running",
        "task plan succeeded",
        "task resolve-image running",
        "task resolve-image succeeded",
        "task execute-0 running",
        "task execute-0 succeeded",
        "task execute-1 running",
        "task execute-1 succeeded",
        "task prepare-instance running",
        "task prepare-instance succeeded",
        "status succeeded",
        "result",
    ]
    assert world.logs(job.job_id)[:2] == [
        "resolve image postgres:17",
        f"resolved image {IMAGE}",
    ]
    assert set(statuses(world, job.job_id).values()) == {"succeeded"}
    assert (job.resolved_image_id, bool(job.started_at), bool(job.finished_at)) == (
        IMAGE,
        True,
        True,
    )


def test_a_cached_step_is_not_run(world):
    world.prepare("-c", WRITE)
    ran = len(world.clusters)
    job = world.prepare("-c", WRITE)
    assert len(world.clusters) == ran
    assert "task execute-0 running" not in shape(world, job.job_id)
    assert "task execute-0 succeeded" in shape(world, job.job_id)
    (execute,) = [t for t in world.store.jobs.tasks(job.job_id) if t.type == "state_execute"]
    assert execute.cached is True


def test_only_the_changed_tail_is_built(world):
    world.prepare("-c", WRITE, "-c", "echo two >> $DATA")
    job = world.prepare("-c", WRITE, "-c", "echo three >> $DATA")
    assert "task execute-0 running" not in shape(world, job.job_id)
    assert world.content(job.result["state_id"]) == "one\nthree\n"
    assert len(states(world)) == 3


def test_an_image_by_digest_is_not_resolved_as_a_task(world):
    job = world.prepare("-c", WRITE, image_id=IMAGE)
    assert "resolve-image" not in statuses(world, job.job_id)
    assert world.logs(job.job_id)[0] == f"resolved image {IMAGE}"


def test_a_plan_runs_nothing(world):
    job = world.prepare("-c", WRITE, plan_only=True)
    assert (job.status, job.result, job.plan_only) == ("succeeded", None, True)
    assert world.clusters == []
    assert set(statuses(world, job.job_id).values()) == {"succeeded"}
    assert shape(world, job.job_id)[-2:] == ["task prepare-instance succeeded", "status succeeded"]
    assert not [line for line in shape(world, job.job_id) if line.endswith("-0 running")]


def test_the_base_is_made_once(world):
    world.prepare("-c", WRITE)
    world.prepare("-c", "echo other >> $DATA")
    assert [cluster.log[0] for cluster in world.clusters].count("initdb") == 1
    assert world.files.synced >= 1


def test_servers_get_the_users_settings(world):
    world.config.set("postgres.settings", {"work_mem": "8MB"})
    first = world.prepare("-c", WRITE)
    assert world.clusters[-1].settings["work_mem"] == "8MB"
    assert world.clusters[-1].log == ["start", "psql", "stop fast", "check"]
    world.config.remove("postgres.settings")
    assert world.prepare("-c", WRITE).result["state_id"] != first.result["state_id"]


def test_logs_of_the_server_do_not_become_part_of_a_state(world):
    job = world.prepare("-c", WRITE)
    state = world.files.state_dir(IMAGE, job.result["state_id"])
    assert [each.name for each in state.iterdir()] == ["content"]


def test_standard_input_and_files(world, tmp_path):
    script = tmp_path / "one.sql"
    script.write_text("pwd >> $DATA\n")
    job = world.prepare("-f", str(script), "-f", "-", stdin="echo stdin >> $DATA\n")
    assert world.content(job.result["state_id"]) == f"{tmp_path}\nstdin\n"


def test_a_volatile_step_is_built_each_time(world):
    stdin = "echo x >> $DATA; : '\n\\i -\n'"
    # For psql that is a quoted text; give it one that is a command.
    stdin = stdin.replace("'", "")
    world.programs.joinpath("psql").write_text("#!/bin/sh\necho x >> $DATA\n")
    jobs = [world.prepare("-f", "-", stdin=stdin, work_dir="/") for _ in range(2)]
    assert jobs[0].result["state_id"] != jobs[1].result["state_id"]
    assert any("not cacheable: standard input:2" in line for line in world.logs(jobs[0].job_id))


# -- what is refused at once --


def test_what_is_wrong_at_submission_makes_no_job(world):
    for args, fields in (
        (["-h", "x"], {}),
        (["-f", "/no/such/file.sql"], {}),
        (["-c", "x"], {"image_id": "not an image!"}),
        (["-c", "\\i missing.sql"], {"work_dir": "/"}),
    ):
        with pytest.raises(InvalidArgument):
            world.submit(*args, **fields)
    assert world.store.jobs.find() == []


def test_a_request_repeated_with_its_key_makes_no_second_job(world, tmp_path):
    script = tmp_path / "a.sql"
    script.write_text("-- nothing")
    request = single_stage(prepare_kind="psql", image_id="postgres", psql_args=("-f", str(script)))
    first = world.service.submit(request, idempotency_key="k")
    script.unlink()  # what was accepted once is not checked again
    assert world.service.submit(request, idempotency_key="k").job_id == first.job_id
    with pytest.raises(IdempotencyKeyReused):
        world.service.submit(replace(request, plan_only=True), idempotency_key="k")
    script.write_text("-- nothing")
    assert world.service.submit(request, idempotency_key="l").job_id != first.job_id
    assert world.service.submit(request).job_id != first.job_id
    world.service.delete(first.job_id, force=True)
    assert world.service.submit(request, idempotency_key="k").job_id != first.job_id


def test_repeated_at_once_it_makes_one(world):
    request = single_stage(prepare_kind="psql", image_id="postgres", psql_args=("-c", WRITE))
    with ThreadPoolExecutor(8) as pool:
        jobs = pool.map(lambda _: world.service.submit(request, idempotency_key="k"), range(8))
        assert len({job.job_id for job in jobs}) == 1


def test_a_stopping_engine_takes_no_jobs(world):
    world.service.shutdown(1)
    with pytest.raises(Unavailable):
        world.submit("-c", WRITE)


# -- failure --


def failed(job, code):
    assert job.status == "failed"
    assert job.error["code"] == code
    return job.error


def test_failing_sql_fails_each_time_and_caches_nothing(world):
    """The Go engine caches failing scripts as success."""
    for _ in range(2):
        job = world.prepare("-c", "echo 'ERROR:  bad'; exit 3")
        error = failed(job, "step_failed")
        assert (error["message"], error["details"]) == ("psql execution failed", "ERROR:  bad")
        assert states(world) == []
        assert shape(world, job.job_id)[-3:] == [
            "task execute-0 failed",
            "status failed",
            "error",
        ]
        assert statuses(world, job.job_id)["execute-0"] == "failed"
        assert statuses(world, job.job_id)["prepare-instance"] == "queued"
        assert world.files.workspaces() == []
    assert world.instances.made == {}


def test_steps_before_a_failing_one_are_cached(world):
    world.prepare("-c", WRITE, "-c", "exit 1")
    assert len(states(world)) == 1


def test_no_image(world):
    job = world.prepare("-c", WRITE, image_id="postgres:9")
    failed(job, "image_unavailable")
    assert shape(world, job.job_id) == [
        "status queued",
        "status running",
        "status failed",
        "error",
    ]


@pytest.mark.parametrize("what", ["initdb", "start", "stop fast", "check"])
def test_a_server_that_fails(world, what):
    world.cluster_failures[what] = ClusterFailed("PostgreSQL failed", "why")
    job = world.prepare("-c", WRITE)
    failed(job, "cluster_failed")
    assert states(world) == []
    assert world.files.workspaces() == []
    assert world.killed
    world.cluster_failures.clear()
    assert world.prepare("-c", WRITE).status == "succeeded"


@pytest.mark.parametrize("what", ["initdb", "start", "stop fast", "check"])
def test_a_server_without_room(world, what):
    world.cluster_failures[what] = FULL
    failed(world.prepare("-c", WRITE), "cache_full_unreclaimable")


@pytest.mark.parametrize("call", ["new_workspace", "clone_to_workspace", "publish"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(28, "No space left on device"), "cache_full_unreclaimable"),
        (StorageFull("full"), "cache_full_unreclaimable"),
        (OSError(5, "Input/output error"), "internal_error"),
    ],
)
def test_files_that_cannot_be_written(world, call, error, code):
    world.files.fail[call] = error
    failed(world.prepare("-c", WRITE), code)
    assert states(world) == []
    world.files.fail.clear()
    assert world.prepare("-c", WRITE).status == "succeeded"


def test_a_failed_clean_up_does_not_hide_the_failure(world, caplog):
    world.prepare("-c", "echo base")
    world.files.fail["discard"] = OSError("busy")
    failed(world.prepare("-c", "exit 1"), "step_failed")
    assert "cannot clean up" in caplog.text
    world.files.fail.clear()


@pytest.mark.parametrize("fields", [{}, {"plan_only": True}])
def test_a_job_pulls_its_image_and_can_be_cancelled_meanwhile(world, fields):
    gate = Gate()

    def resolve(image, work=None):
        work.log(f"pulling {image}: 1.0 of 2.0 MiB")
        gate()
        work.cancellation.check()

    world.resolve = resolve
    job_id = world.submit("-c", WRITE, image_id="postgis/postgis:17-3.5", **fields)
    assert gate.reached.wait(PATIENCE)
    world.service.cancel(job_id)
    gate.open.set()
    failed(world.wait(job_id), "cancelled")
    assert "pulling postgis/postgis:17-3.5: 1.0 of 2.0 MiB" in world.logs(job_id)


def test_a_pull_that_fails_fails_the_job_with_its_code(world):
    def resolve(image, work=None):
        raise RegistryUnavailable("ghcr.io does not answer", "connection refused")

    world.resolve = resolve
    error = failed(world.prepare("-c", WRITE, image_id="ghcr.io/a/b"), "registry_unavailable")
    assert error["details"] == "connection refused"


def test_neither_a_submission_nor_an_explanation_pulls(world):
    asked = []

    def resolve(image, work=None):
        asked.append(work)
        raise ImageUnavailable("it is not here")

    world.resolve = resolve
    with pytest.raises(ImageUnavailable):
        world.service.plan(world.request("-c", WRITE))
    assert asked == [None]


def test_the_unexpected_is_the_jobs_error_without_a_traceback(world, caplog):
    def resolve(image, work=None):
        raise KeyError("surprise")

    world.resolve = resolve
    error = failed(world.prepare("-c", WRITE), "internal_error")
    assert "log" in error["message"]
    assert "Traceback" not in str(error)
    assert "File " not in str(error)
    assert "Traceback" in caplog.text


def test_an_instance_that_cannot_be_made(world):
    world.instances.fail = EngineError("no port")
    job = world.prepare("-c", WRITE)
    failed(job, "internal_error")
    assert "task prepare-instance failed" in shape(world, job.job_id)
    assert len(states(world)) == 1


UNUSABLE = ServerUnusable("PostgreSQL did not start: its log has the cause", "FATAL: no")


@pytest.mark.parametrize("lacks", ["start", "check superuser", "set password", "log in"])
def test_a_step_that_leaves_an_unusable_server_fails_and_is_not_cached(world, lacks):
    world.instances.fail = world.spoilt[lacks] = UNUSABLE
    for _ in range(2):
        job = world.prepare("-c", WRITE)
        assert job.error["code"] == "step_failed"
        assert (
            job.error["details"]
            == f"-c {WRITE}: PostgreSQL did not start: its log has the cause: FATAL: no"
        )
        assert states(world) == []
        assert list(world.files.state_dirs()) == []


def test_a_step_before_may_have_left_an_unusable_server(world):
    world.instances.fail = world.spoilt["log in"] = UNUSABLE
    two = world.prepare("-c", WRITE, "-c", "true")
    assert two.error["details"].startswith("-c true, or a step before it: ")


def test_the_step_before_is_to_blame_for_a_server_that_fails_at_once(world):
    world.instances.fail = UNUSABLE
    assert world.prepare("-c", WRITE).error["code"] == "cluster_failed"
    world.spoilt["check superuser"] = UNUSABLE
    job = world.prepare("-c", WRITE, "-c", "true")
    assert job.error["details"].startswith(f"-c {WRITE}: ")
    assert states(world) == []


def test_two_jobs_come_to_the_same_end(world):
    def create(state_id, **_):
        world.states.drop_unproven(state_id)  # as the other job does
        raise UNUSABLE

    world.instances.create = create
    assert world.prepare("-c", WRITE).error["code"] == "step_failed"
    assert states(world) == []


def test_a_failure_that_does_not_come_again_is_no_fault_of_the_step(world):
    world.instances.fail = UNUSABLE
    assert world.prepare("-c", WRITE).error["code"] == "cluster_failed"
    world.instances.fail = None
    assert world.prepare("-c", WRITE).status == "succeeded"
    assert len(states(world)) == 1


def test_a_shortage_of_the_machine_is_no_fault_of_the_step(world):
    """Then an empty cluster does not start, either."""
    world.instances.fail = UNUSABLE
    gate = world.instances.create

    def create(*arguments, **options):
        world.cluster_failures["start"] = UNUSABLE
        return gate(*arguments, **options)

    world.instances.create = create
    assert world.prepare("-c", WRITE).error["code"] == "cluster_failed"
    assert len(states(world)) == 1


def test_a_server_that_is_slow_is_no_fault_of_the_step(world):
    world.instances.fail = ClusterFailed("PostgreSQL was not ready within 60 s")
    world.spoilt["start"] = UNUSABLE
    assert world.prepare("-c", WRITE).error["code"] == "cluster_failed"
    assert len(states(world)) == 1


def test_a_state_that_proved_itself_is_kept_whatever_its_servers_do(world):
    made = world.prepare("-c", ":")
    world.store.states.set_proven(made.result["state_id"])
    world.instances.fail = world.cluster_failures["check superuser"] = UNUSABLE
    assert world.prepare("-c", ":").error["code"] == "cluster_failed"
    world.cluster_failures["start"] = UNUSABLE
    assert world.prepare("-c", ":", "-c", "true").error["code"] == "cluster_failed"
    assert states(world) == [made.result["state_id"]]


def test_a_full_disk_is_no_fault_of_the_step(world):
    full = "could not write: No space left on device"
    world.instances.fail = ServerUnusable("PostgreSQL did not start: its log has the cause", full)
    assert world.prepare("-c", ":").error["code"] == "cluster_failed"
    assert len(states(world)) == 1


def test_a_script_changed_before_the_job_ran_is_planned_anew(world, tmp_path):
    script = tmp_path / "one.sql"
    script.write_text(WRITE)
    with submitted(world, "-f", str(script)) as job_id:
        script.unlink()
    error = failed(world.wait(job_id), "invalid_argument")
    assert error["details"] == str(script)


def test_a_script_is_read_once(world, tmp_path, monkeypatch):
    script = tmp_path / "one.sql"
    script.write_text(WRITE)
    reads, read = [], LocalFiles.script

    def counted(files, path):
        reads.append(path)
        return read(files, path)

    monkeypatch.setattr(LocalFiles, "script", counted)
    for _ in range(2):
        assert world.prepare("-f", str(script)).status == "succeeded"
    assert reads == [script, script]


def test_what_runs_is_the_script_as_it_is_when_the_job_starts(world, tmp_path):
    script = tmp_path / "one.sql"
    script.write_text(WRITE)
    with submitted(world, "-f", str(script)) as job_id:
        script.write_text("echo changed >> $DATA")
    changed = world.wait(job_id).result["state_id"]
    assert world.content(changed) == "changed\n"
    script.write_text(WRITE)
    assert world.prepare("-f", str(script)).result["state_id"] != changed


def test_a_script_that_changes_while_it_runs_is_not_cached(world, tmp_path):
    script = tmp_path / "one.sql"
    script.write_text(f"echo >> {script}\n")
    job = world.prepare("-f", str(script))
    error = failed(job, "conflict")
    assert error["details"] == str(script)
    assert states(world) == []


# -- middle states that are gone --


STEPS = ("-c", WRITE, "-c", "echo two >> $DATA", "-c", "echo three >> $DATA")


def drop_files(world, *state_ids):
    for state_id in state_ids:
        world.store.states.set_gone(state_id)
        world.files.discard(world.files.state_dir(IMAGE, state_id))


def cached(world, job_id):
    tasks = world.store.jobs.tasks(job_id)
    return [task.cached for task in tasks if task.type == "state_execute"]


def test_what_is_before_the_last_state_that_is_there_is_not_built(world):
    world.prepare(*STEPS)
    one, two, three = states(world)
    drop_files(world, one, two)
    ran = len(world.clusters)
    job = world.prepare(*STEPS)
    assert (job.status, job.result["state_id"]) == ("succeeded", three)
    assert (len(world.clusters), cached(world, job.job_id)) == (ran, [True, True, True])
    # Nor is it for a step more.
    job = world.prepare(*STEPS, "-c", "echo four >> $DATA")
    assert cached(world, job.job_id) == [True, True, True, False]
    assert world.content(job.result["state_id"]) == "one\ntwo\nthree\nfour\n"
    assert [world.states.exists(each) for each in (one, two)] == [False, False]


def test_a_middle_state_that_is_asked_for_is_built_anew(world):
    world.prepare(*STEPS)
    one, two, three = states(world)
    drop_files(world, one, two)
    job = world.prepare(*STEPS[:4])
    assert (job.result["state_id"], world.content(two)) == (two, "one\ntwo\n")
    assert [row.size_bytes for row in world.store.states.find(StateFilter())] == [4, 8, 14]
    assert all(world.states.exists(each) for each in (one, two, three))


def test_a_job_keeps_what_it_needs_and_no_more(world):
    """The state that is built upon and those to come, but not what was before."""
    world.prepare(*STEPS[:4])
    one, two = states(world)
    hold = world.root / "hold"
    waiting = f"echo started; while [ ! -e {hold} ]; do sleep 0.01; done"
    job_id = world.submit(*STEPS, "-c", waiting)
    world.running(job_id)
    (three,) = set(states(world)) - {one, two}
    try:
        leased = world.leases.current()
        assert leased.isdisjoint({one, two})
        assert three in leased
        drop_files(world, one, two)
    finally:
        hold.touch()
    assert world.wait(job_id).status == "succeeded"
    assert world.leases.current() == frozenset()


def test_an_instance_that_finds_no_room_has_middle_states_dropped(tmp_path):
    asked = []

    class Cache(Unlimited):
        def relieve(self, phase, failure, protect=(), growth=0):
            asked.append((phase, protect))
            world.instances.fail = None
            return True

    world = World(tmp_path, Cache())
    world.instances.fail = StorageFull("the disk is full")
    assert world.prepare(*STEPS).status == "succeeded"
    assert asked == [("prepare_instance", tuple(states(world)))]
    world.close()


# -- together --


def test_identical_jobs_build_once(world):
    hold = world.root / "hold"
    script = f"echo started; while [ ! -e {hold} ]; do sleep 0.01; done; {WRITE}"
    first = world.submit("-c", script)
    world.running(first)
    others = [world.submit("-c", script) for _ in range(3)]
    for other in others:
        eventually(lambda job=other: any("waiting for another" in m for m in world.logs(job)))
    hold.touch()
    jobs = [world.wait(job_id) for job_id in (first, *others)]
    assert lookups(world) == {"hit": 3, "miss": 1}
    assert [job.status for job in jobs] == ["succeeded"] * 4
    assert len(states(world)) == 1
    assert world.content(states(world)[0]) == "one\n"
    assert len({job.result["instance_id"] for job in jobs}) == 4


def test_a_job_that_waits_for_a_state_builds_it_when_the_builder_fails(world):
    hold, broken = world.root / "hold", world.root / "broken"
    broken.touch()
    script = (
        f"echo started; while [ ! -e {hold} ]; do sleep 0.01; done;"
        f" if [ -e {broken} ]; then rm {broken}; exit 1; fi; {WRITE}"
    )
    first = world.submit("-c", script)
    world.running(first)
    second = world.submit("-c", script)
    eventually(lambda: any("waiting" in message for message in world.logs(second)))
    hold.touch()
    assert [world.wait(job).status for job in (first, second)] == ["failed", "succeeded"]


def test_the_base_is_waited_for(world):
    gate = Gate()
    world.files.sync = gate
    first = world.submit("-c", WRITE)
    assert gate.reached.wait(20)
    second = world.submit("-c", "echo two >> $DATA")
    eventually(lambda: any("builds the base state" in m for m in world.logs(second)))
    gate.open.set()
    assert {world.wait(job).status for job in (first, second)} == {"succeeded"}


# -- cancel --


def test_cancelling_a_running_job(world):
    """The Go engine leaves the task running for ever."""
    job_id = world.submit("-c", SLEEP, "-c", "echo two")
    world.running(job_id)
    job, active = world.service.cancel(job_id)
    assert active
    job = world.wait(job_id)
    assert job.error["message"] == "job cancelled"
    failed(job, "cancelled")
    assert statuses(world, job_id) == {
        "plan": "succeeded",
        "resolve-image": "succeeded",
        "execute-0": "failed",
        "execute-1": "queued",
        "prepare-instance": "queued",
    }
    assert world.files.workspaces() == []
    assert world.service.cancel(job_id) == (job, False)
    assert world.prepare("-c", WRITE).status == "succeeded"


def test_cancelling_a_job_that_waits(world):
    first = world.submit("-c", SLEEP)
    world.running(first)
    second = world.submit("-c", SLEEP)
    eventually(lambda: any("waiting" in message for message in world.logs(second)))
    world.service.cancel(second)
    failed(world.wait(second), "cancelled")
    assert world.job(first).status == "running"
    world.service.cancel(first)
    failed(world.wait(first), "cancelled")


def test_cancelling_a_queued_job(world, monkeypatch):
    monkeypatch.setattr(queue_module, "THREADS", 1)
    world.close()
    following = World(world.root)
    try:
        first = following.submit("-c", SLEEP)
        following.running(first)
        second = following.submit("-c", WRITE)
        assert following.job(second).status == "queued"
        following.service.cancel(second)
        following.service.cancel(first)
        failed(following.wait(second), "cancelled")
        assert shape(following, second) == ["status queued", "status failed", "error"]
    finally:
        following.close()
        world.begin()


def test_cancelling_what_is_not_there(world):
    with pytest.raises(NotFound):
        world.service.cancel("f" * 32)


# -- delete --


def test_deleting_a_finished_job_leaves_its_instance(world):
    """The Go engine deletes the instance's data with the job."""
    job = world.prepare("-c", WRITE)
    dry = world.service.delete(job.job_id, dry_run=True)
    assert (dry.outcome, dry.root.kind, dry.root.id) == ("would_delete", "job", job.job_id)
    assert world.service.delete(job.job_id).outcome == "deleted"
    assert world.store.jobs.get(job.job_id) is None
    assert world.store.jobs.tasks(job.job_id) == []
    assert len(states(world)) == 1
    assert list(world.instances.made) == [job.job_id]


def test_a_running_job_is_not_deleted_unless_forced(world):
    job_id = world.submit("-c", SLEEP)
    world.running(job_id)
    for dry_run in (True, False):
        blocked = world.service.delete(job_id, dry_run=dry_run)
        assert blocked.root.blocked == "active_tasks"
    assert world.service.delete(job_id, force=True, dry_run=True).outcome == "would_delete"
    assert world.job(job_id).status == "running"
    assert world.service.delete(job_id, force=True).outcome == "deleted"
    assert world.store.jobs.get(job_id) is None
    assert world.files.workspaces() == []
    with pytest.raises(NotFound):
        world.service.delete(job_id)


def test_a_job_that_does_not_end_is_not_deleted(world, monkeypatch):
    monkeypatch.setattr(service_module, "DELETE_PATIENCE_SECONDS", 0.01)
    gate = Gate()
    world.files.sync = gate
    job_id = world.submit("-c", WRITE)
    assert gate.reached.wait(20)
    with pytest.raises(Unavailable, match="does not end"):
        world.service.delete(job_id, force=True)
    gate.open.set()
    failed(world.wait(job_id), "cancelled")


def test_a_row_that_goes_while_its_job_runs(world, caplog):
    caplog.set_level(logging.INFO)
    job_id = world.submit("-c", f"echo started; until [ -e {world.root}/go ]; do sleep 0.01; done")
    world.running(job_id)
    world.store.jobs.remove(job_id)
    (world.root / "go").touch()
    eventually(lambda: world.service.active() == 0)
    assert world.events.read(job_id, 0).state == "ended"


# -- stop and resume --


def test_a_stopped_job_resumes_and_succeeds(world):
    """Nothing is left that could block it."""
    hold = world.root / "hold"
    script = f"echo started; while [ ! -e {hold} ]; do sleep 0.01; done; {WRITE}"
    job_id = world.submit("-c", script)
    world.running(job_id)
    assert world.service.active() == 1
    world.service.shutdown(20)
    assert world.job(job_id).status == "running"
    assert world.files.workspaces() == []
    assert world.service.active() == 0
    hold.touch()
    world.begin()
    world.service.recover()
    job = world.wait(job_id)
    assert job.status == "succeeded"
    assert shape(world, job_id).count("status queued") == 1
    assert shape(world, job_id).count("status running") == 2
    assert shape(world, job_id)[-1] == "result"
    assert job.result["instance_id"] == world.instances.made[job_id].instance_id


def test_a_job_never_begun_is_resumed(world):
    job_id = world.submit("-c", WRITE)
    world.wait(job_id)
    world.service.shutdown(20)
    world.store.jobs.update(job_id, status="queued", result=None, finished_at=None)
    world.begin()
    world.service.recover()
    assert world.wait(job_id).status == "succeeded"


def test_a_job_left_by_a_crash_can_be_cancelled_before_it_is_resumed(world):
    job_id = stranded(world)
    job, active = world.service.cancel(job_id)
    assert (job.status, active) == ("failed", True)
    failed(job, "cancelled")
    assert shape(world, job_id)[-2:] == ["status failed", "error"]
    world.service.recover()
    assert world.service.active() == 0


def stranded(world):
    """Leave a job as a killed engine leaves it."""
    job_id = world.submit("-c", SLEEP)
    world.running(job_id)
    world.service.shutdown(20)
    world.begin()
    return job_id


def test_a_job_cancelled_while_jobs_are_resumed_stays_cancelled(world, monkeypatch):
    job_id = stranded(world)
    found = world.store.jobs.unfinished()
    world.service.cancel(job_id)
    monkeypatch.setattr(world.store.jobs, "unfinished", lambda: found)
    world.service.recover()
    assert world.service.active() == 0
    failed(world.job(job_id), "cancelled")


def test_a_job_whose_row_is_damaged_ends_and_the_others_are_resumed(world):
    damaged, good = stranded(world), stranded(world)
    with world.store.database.writing():
        world.store.database.entities.Job[damaged].request = "{"
    world.service.recover()
    world.running(good)
    failed(world.wait(damaged), "store_damaged")
    world.service.cancel(good)
    failed(world.wait(good), "cancelled")


def test_a_job_is_resumed_once(world):
    job_id = stranded(world)
    world.service.recover()
    world.service.recover()
    assert world.service.active() == 1
    world.running(job_id)
    world.service.cancel(job_id)
    failed(world.wait(job_id), "cancelled")


def test_a_stopping_engine_resumes_nothing(world):
    job_id = stranded(world)
    world.service.shutdown(20)
    world.service.recover()
    assert world.service.active() == 0
    assert world.service.cancel(job_id)[0].status == "running"


def test_jobs_that_do_not_stop_are_left(world, caplog):
    gate = Gate()
    world.files.sync = gate
    world.submit("-c", WRITE)
    assert gate.reached.wait(20)
    world.service.shutdown(0.01)
    assert "did not stop in time" in caplog.text
    gate.open.set()
    eventually(lambda: world.service.active() == 0)


# -- the end of a job, and the store --


def test_the_end_waits_for_room_on_the_disk(world, monkeypatch):
    monkeypatch.setattr(end_module, "RETRY_SECONDS", 0.01)
    attempts = []
    finish = world.store.jobs.finish

    def full(*args, **fields):
        attempts.append(args)
        if len(attempts) < 4:
            raise StorageFull("the disk is full")
        return finish(*args, **fields)

    monkeypatch.setattr(world.store.jobs, "finish", full)
    job = world.prepare("-c", WRITE)
    assert job.status == "succeeded"
    assert len(attempts) == 4


def test_an_end_that_cannot_be_stored_is_left_for_the_next_start(world, monkeypatch, caplog):
    reached = threading.Event()

    def full(*args, **fields):
        reached.set()
        raise StorageFull("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(world.store.jobs, "finish", full)
        job_id = world.submit("-c", WRITE)
        assert reached.wait(20)
        world.service.shutdown(20)
    assert world.job(job_id).status == "running"
    assert "left for the next start" in caplog.text
    world.begin()
    world.service.recover()
    job = world.wait(job_id)
    assert job.status == "succeeded"
    # The instance made the first time is the one that is handed over.
    assert list(world.instances.made) == [job_id]
    assert world.instances.made[job_id].instance_id == job.result["instance_id"]


@pytest.mark.parametrize(
    "trouble",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError(),
        EngineError("the state store's database cannot be opened for writing"),
        sqlite3.ProgrammingError("mistake"),
    ],
)
def test_a_passing_trouble_at_the_end_only_delays_it(world, monkeypatch, trouble):
    monkeypatch.setattr(end_module, "RETRY_SECONDS", 0.01)
    failures = iter([trouble] * 3)
    finish = world.store.jobs.finish

    def troubled(*args, **fields):
        for failure in failures:
            raise failure
        return finish(*args, **fields)

    monkeypatch.setattr(world.store.jobs, "finish", troubled)
    job_id = world.submit("-c", WRITE)
    assert world.wait(job_id).status == "succeeded"
    assert shape(world, job_id)[-1] == "result"
    eventually(lambda: world.service.active() == 0)


def test_an_outcome_that_json_cannot_express_is_a_failure(world):
    world.instances.fail = EngineError("no such file", facts={"name": "b\udcffd"})
    error = failed(world.prepare("-c", WRITE), "internal_error")
    assert "log" in error["message"]


def trouble(monkeypatch, on, call):
    """Let the first calls fail as on a disk that does not answer for a while."""
    monkeypatch.setattr(retry_queue, "RETRY_SECONDS", 0.01)
    real, failures = getattr(on, call), iter([OSError(errno.EIO, "Input/output error")] * 3)

    def troubled(*args):
        for failure in failures:
            raise failure
        return real(*args)

    monkeypatch.setattr(on, call, troubled)


@pytest.mark.parametrize("call", ["event_count", "unfinished"])
def test_a_passing_trouble_at_the_start_only_delays_what_is_resumed(world, monkeypatch, call):
    job_id = stranded(world)
    trouble(monkeypatch, world.store.jobs, call)
    world.retries.do("resume the jobs", world.service.recover)
    eventually(lambda: world.service.active() == 1)
    world.service.cancel(job_id)
    failed(world.wait(job_id), "cancelled")


def test_a_passing_trouble_after_its_submission_only_delays_a_job(world, monkeypatch):
    trouble(monkeypatch, world.store.jobs, "event_count")
    job_id = world.submit("-c", WRITE)
    eventually(lambda: world.job(job_id).status == "succeeded")


def test_a_job_that_finds_no_thread_waits_for_one(world, monkeypatch):
    monkeypatch.setattr(retry_queue, "RETRY_SECONDS", 0.01)
    start, failures = threading.Thread.start, iter([RuntimeError("can't start new thread")] * 2)

    def troubled(thread):
        if thread.name.startswith("job"):
            for failure in failures:
                raise failure
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", troubled)
    assert world.prepare("-c", WRITE).status == "succeeded"


def test_what_a_failed_build_leaves_is_cleaned_up_later(world, monkeypatch):
    trouble(monkeypatch, world, "kill")
    failed(world.prepare("-c", "exit 3"), "step_failed")
    eventually(lambda: world.files.workspaces() == [])
    assert world.killed
    eventually(lambda: world.retries.left() == [])


# -- retention and durability --


def test_retired_jobs_leave_their_instances(world):
    jobs = []
    for _ in range(4):
        jobs.append(world.prepare("-c", WRITE))
        world.service.read(world.job(jobs[-1].job_id))
    eventually(lambda: len(world.store.jobs.find()) == 2)
    assert len(world.instances.made) == 4
    assert len(states(world)) == 1


def test_reading_a_job_that_runs_changes_nothing(world):
    world.config.set("orchestrator.jobs.maxIdentical", 1)
    before = world.prepare("-c", SLEEP.replace("600", "0"))
    job_id = world.submit("-c", SLEEP)
    world.running(job_id)
    world.service.read(world.job(job_id))
    world.service.cancel(job_id)
    failed(world.wait(job_id), "cancelled")
    assert world.job(before.job_id) == before


def test_states_become_durable_in_the_background(world):
    world.prepare("-c", WRITE)
    eventually(lambda: world.store.states.undurable() == [], "durability")


def test_many_at_once(world):
    jobs = [world.submit("-c", f"echo {n % 5} >> $DATA") for n in range(20)]
    with in_thread(lambda: [world.wait(job) for job in jobs]):
        pass
    assert len(states(world)) == 5
    assert len(list((world.root / "store" / "bases").iterdir())) == 1


def test_a_resumed_job_that_comes_to_another_state_replaces_its_instance(world):
    """The engine died between the instance and the job's end; the plan is another now."""
    job_id = world.submit("-c", WRITE)
    first = world.wait(job_id).result
    world.service.shutdown(20)
    world.store.jobs.update(job_id, status="running", result=None, finished_at=None)
    world.config.set("postgres.settings", {"work_mem": "8MB"})
    world.begin()
    world.service.recover()
    job = world.wait(job_id)
    assert job.status == "succeeded"
    assert job.result["state_id"] != first["state_id"]
    assert [each.state_id for each in world.instances.made.values()] == [job.result["state_id"]]


def test_reading_a_job_does_not_fail_when_older_ones_cannot_be_retired(world, monkeypatch, caplog):
    job = world.prepare("-c", WRITE)

    def fail(_signature):
        raise StorageFull("full")

    monkeypatch.setattr(world.store.jobs, "finished_with", fail)
    world.service.read(job)
    eventually(lambda: f"older jobs like {job.job_id} are not retired now" in caplog.text)


def test_a_job_left_for_the_next_start_breaks_its_stream_off(world, monkeypatch):
    reached = threading.Event()

    def fail(*_args, **_fields):
        reached.set()
        raise OSError("the disk is broken")

    monkeypatch.setattr(world.store.jobs, "finish", fail)
    job_id = world.submit("-c", WRITE)
    assert reached.wait(60)
    assert world.events.read(job_id, 10**6).state == "open"
    world.service.shutdown(20)
    assert world.events.read(job_id, 10**6).state == "suspended"


def test_a_job_whose_working_directory_goes_before_it_runs_says_so(world, tmp_path):
    directory = tmp_path / "gone"
    directory.mkdir()
    with submitted(world, "-c", WRITE, work_dir=str(directory)) as job_id:
        directory.rmdir()
    error = failed(world.wait(job_id), "invalid_argument")
    assert error["details"] == str(directory)


def test_a_job_that_waits_for_a_thread_is_read_again_when_it_gets_one(world, tmp_path, monkeypatch):
    monkeypatch.setattr(queue_module, "THREADS", 1)
    world.close()
    following = World(world.root)
    read, draft = [], PsqlPlanner.draft

    def counted(planner, stage, start):
        read.append(stage.psql_args[1])
        return draft(planner, stage, start)

    monkeypatch.setattr(PsqlPlanner, "draft", counted)
    try:
        first = following.submit("-c", SLEEP)
        following.running(first)
        waiting = following.submit("-c", WRITE)
        following.service.cancel(first)
        assert following.wait(waiting).status == "succeeded"
        assert read == [SLEEP, WRITE, WRITE]
    finally:
        following.close()
        world.begin()


def test_a_plan_that_begins_while_the_engine_stops_is_refused(world, monkeypatch):
    outcomes, begun = [], threading.Event()
    request = world.request("-c", WRITE)

    def plan():
        try:
            world.service.plan(request)
        except Unavailable:
            outcomes.append("refused")

    second = threading.Thread(target=plan)

    def slow_plan(draft, parent, planning):
        context = planning.context
        if begun.is_set():  # the second: nobody has told it to end
            outcomes.append("planned")
            return MagicMock()
        interrupted = threading.Event()

        def begin_another():
            second.start()
            second.join(10)
            interrupted.set()

        with context.cancellation.calling(begin_another):
            begun.set()
            assert interrupted.wait(20)
        context.cancellation.check()
        raise AssertionError

    monkeypatch.setattr(PsqlDraft, "plan", slow_plan)
    first = threading.Thread(target=plan)
    first.start()
    assert begun.wait(20)
    world.service.shutdown(20)
    first.join()
    assert outcomes == ["refused", "refused"]
