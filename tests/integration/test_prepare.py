"""Preparations on real PostgreSQL, by the parts of an engine as the engine puts them together."""

import os
import threading
import time
from pathlib import Path

import psutil
import pytest
from support import fix_mounts
from support.fix_store import Store, query
from support.prepare_requests import single_stage
from support.waiting import PATIENCE, eventually

from sqlrs_engine.errors import ImageUnavailable, InvalidArgument
from sqlrs_engine.postgres.distributions.catalog import Distributions

pytestmark = pytest.mark.postgres

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["postgres:15", "postgres:18"])
def image(request, tmp_path_factory):
    search = [Path(each) for each in os.get_exec_path()]
    try:
        Distributions(tmp_path_factory.mktemp("d"), search=search).resolve(request.param)
    except ImageUnavailable:
        pytest.skip(f"there is no {request.param} here")
    return request.param


@pytest.fixture(scope="module")
def store(image, tmp_path_factory):
    """A store that the tests of an image share."""
    store = Store(tmp_path_factory.mktemp("store"), image)
    yield store
    store.close()


@pytest.fixture
def alone(store):
    """The store, with nothing going on in it but what the test does."""
    store.without_pool()
    yield store
    store.engine.config.remove("pool.enabled")


@pytest.fixture
def scripts(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "one.sql").write_text("create table t (id int primary key);\n")
    (tmp_path / "two.sql").write_text("insert into t select generate_series(1, 10);\n")
    return tmp_path


def test_two_steps_and_the_cache(store, scripts):
    args = ("-f", str(scripts / "one.sql"), "-f", str(scripts / "two.sql"))
    first, second = store.prepare(*args), store.prepare(*args)
    assert first["state_id"] == second["state_id"]
    assert first["instance_id"] != second["instance_id"]
    assert query(first, "select count(*) from t") == query(second, "select count(*) from t") == 10
    assert query(first, "show server_version").startswith(store.image.partition(":")[2])


def test_only_the_changed_tail_is_rebuilt(store, scripts):
    (scripts / "three.sql").write_text("create table three as select 1 as n;\n")
    args = [f"-f{scripts / name}.sql" for name in ("one", "two", "three")]
    before = store.prepare(*args)
    (scripts / "three.sql").write_text("create table three as select 2 as n;\n")
    job_id = store.submit(*args)
    after = store.wait(job_id).result
    assert store.cached(job_id) == [True, True, False]
    assert query(before, "select n from three") == 1
    assert query(after, "select n from three") == 2


def test_variables_count(store, scripts):
    (scripts / "v.sql").write_text("create table v as select :x::int as n, :'x' as t;\n")
    script = str(scripts / "v.sql")
    one = store.prepare("-v", "x=1", "-f", script)
    two = store.prepare("--set=x=2", "-f", script)
    assert (query(one, "select n from v"), query(two, "select n from v")) == (1, 2)
    assert one["state_id"] != two["state_id"]
    assert store.prepare("-vx=1", "-f", script)["state_id"] == one["state_id"]
    assert store.prepare("-f", script, "-v", "x=1")["state_id"] == one["state_id"]


def test_standard_input(store):
    result = store.prepare("-f", "-", stdin="create table s (n int);\ncopy s from stdin;\n7\n\\.\n")
    assert query(result, "select n from s") == 7


def test_standard_input_that_is_not_utf8(store, tmp_path):
    script = b"set client_encoding = latin1;\ncreate table l as select 'caf\xe9'::text as n;\n"
    result = store.prepare("-f", "-", stdin=script.decode("utf-8", "surrogateescape"))
    assert query(result, "select n from l") == "caf\xe9"
    file = tmp_path / "latin1.sql"
    file.write_bytes(script)
    assert store.prepare("-f", str(file))["state_id"] == result["state_id"]


def test_relative_output_without_a_directory_goes_with_the_step(store):
    stdin = "create table o as select 1 as n;\n\\o rel.txt\nselect 2;\n\\! pwd\n\\! ls\n"
    job_id = store.submit("-f", "-", stdin=stdin)
    result = store.wait(job_id).result
    assert query(result, "select n from o") == 1
    place, written = _told(store.logs(job_id))
    assert written == "rel.txt"
    directory = Path(place)
    assert directory.is_relative_to(store.root)
    assert not directory.exists()
    assert list(store.root.glob("engines/**/scratch-*")) == []


def _told(lines):
    """Return what psql printed of the directory it worked in, and of the files there."""
    printed = [line.removeprefix("psql: ") for line in lines if line.startswith("psql: ")]
    return printed[printed.index("SELECT 1") + 1 :][:2]


def test_includes_and_data_files(store, scripts):
    (scripts / "sub").mkdir()
    (scripts / "main.sql").write_text("\\set dir sub\n\\i :dir/a.sql\n")
    (scripts / "sub/a.sql").write_text("\\ir ../one.sql\n\\copy t from data.csv\n")
    (scripts / "data.csv").write_text("1\n2\n")
    args = ("-f", str(scripts / "main.sql"))
    first = store.prepare(*args)
    assert query(first, "select sum(id) from t") == 3
    (scripts / "data.csv").write_text("1\n2\n3\n")
    assert query(store.prepare(*args), "select sum(id) from t") == 6
    (scripts / "data.csv").write_text("1\n2\n")
    assert store.prepare(*args)["state_id"] == first["state_id"]


def test_one_transaction(store, scripts):
    script = scripts / "tx.sql"
    script.write_text("create table tx as select pg_current_xact_id()::text as id;\n"
                      "insert into tx select pg_current_xact_id()::text;\n")  # fmt: skip
    apart = store.prepare("-f", str(script))
    together = store.prepare("-1", "-f", str(script))
    assert query(apart, "select count(distinct id) from tx") == 2
    assert query(together, "select count(distinct id) from tx") == 1


def test_databases_of_their_own(store):
    stdin = "create database newdb;\n\\c newdb\ncreate table there as select 5 as n;\n"
    result = store.prepare("-f", "-", stdin=stdin)
    assert query(result, "select n from there", dbname="newdb") == 5


def test_long_lines(store, scripts):
    script = scripts / "long.sql"
    script.write_text(f"create table long as select '{'x' * 300_000}' as t;\ntable long;\n")
    result = store.prepare("-f", str(script))
    assert query(result, "select length(t) from long") == 300_000


def test_start_up_files_are_not_read(store, scripts, monkeypatch):
    (scripts / "psqlrc").write_text("create table rc ();\n")
    monkeypatch.setenv("PSQLRC", str(scripts / "psqlrc"))
    result = store.prepare("-c", "select 'no rc'")
    assert query(result, "select to_regclass('rc')") is None


def test_failing_sql_is_never_cached(alone, scripts):
    """Not the first time, nor the second, nor with ON_ERROR_STOP given."""
    script = scripts / "bad.sql"
    script.write_text("create table before_it ();\n\nselect nonsense;\ncreate table after_it ();\n")
    before = alone.states()
    for args in (
        ["-f", str(script)],
        ["-f", str(script)],
        ["-v", "ON_ERROR_STOP=1", "-f", str(script)],
    ):
        error = alone.failure(*args)
        assert (error["code"], error["message"]) == ("step_failed", "psql execution failed")
        assert error["details"].startswith(
            f'{script}:3: ERROR:  column "nonsense" does not exist\nLINE 1: select nonsense;'
        )
    assert alone.states() == before
    assert alone.workspaces() == []


SPOILT = {
    "library": "alter system set shared_preload_libraries = 'nosuch'",
    "access": "alter system set hba_file = '/nonexistent'",
    "login": "alter role sqlrs nologin",
    "superuser": "update pg_authid set rolsuper = false where rolname = 'sqlrs'",
    "expired": "alter role sqlrs valid until '2001-01-01'",
    "renamed": "create role other superuser login; set session authorization other; "
    "alter role sqlrs rename to me",
    "dropped": "create database other; \\c other\n drop database postgres",
    "closed": "\\c template1\n alter database postgres allow_connections false",
    "trigger": "create function no() returns event_trigger language plpgsql as "
    "$$ begin raise exception 'nobody logs in'; end $$; "
    "create event trigger no on login execute function no(); alter event trigger no enable always",
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_step_after_which_nobody_can_log_in_fails(alone, scripts, name):
    if name == "trigger" and alone.image < "postgres:17":
        pytest.skip("there are no login triggers before 17")
    script = scripts / "spoilt.sql"
    script.write_text(SPOILT[name] + ";\n")
    before = alone.states()
    for after in [], ["-c", "select 1"]:
        error = alone.failure("-f", str(script), *after)
        assert error["code"] == "step_failed"
        assert error["message"].startswith("the step leaves a server that does not start")
        assert "spoilt.sql: " in error["details"]
        assert alone.states() == before
    assert alone.workspaces() == []


def test_a_state_that_was_of_use_once_is_never_blamed(alone, scripts):
    script = str(scripts / "one.sql")
    made = alone.prepare("-f", script)
    alone.engine.config.set("postgres.settings", {"max_connections": 2})
    try:
        error = alone.failure("-f", script, "-c", "select 1")
        assert error["code"] == "cluster_failed"
    finally:
        alone.engine.config.remove("postgres.settings")
    job = alone.job("-f", script)
    assert job.result["state_id"] == made["state_id"]
    assert alone.cached(job.job_id) == [True]


def test_errors_in_included_files_and_commands(store, scripts):
    (scripts / "main.sql").write_text("\\i one.sql\n\\i bad.sql\n")
    (scripts / "bad.sql").write_text("select 1;\nselect 1/0;\n")
    details = store.failure("-f", str(scripts / "main.sql"))["details"]
    assert "bad.sql:2: ERROR:  division by zero" in details
    assert store.failure("-c", "select 1/0")["details"] == "ERROR:  division by zero"
    stdin = store.failure("-f", "-", stdin="select 1/0;\n")["details"]
    assert stdin == "<stdin>:1: ERROR:  division by zero"


def test_a_lost_connection_fails_the_step(store, scripts):
    script = scripts / "lost.sql"
    script.write_text("select pg_terminate_backend(pg_backend_pid());\nselect 'more';\n")
    before = store.states()
    for _ in range(2):
        error = store.failure("-f", str(script))
        assert error["code"] == "step_failed"
        assert error["details"].startswith(f"{script}:1: FATAL:  terminating connection")
    assert store.states() == before


def test_cancelling_leaves_no_process_and_no_running_task(alone):
    before = {process.pid for process in alone.processes()}
    sql = "do $$ begin raise notice 'under way'; perform pg_sleep(600); end $$"
    job_id = alone.submit("-c", sql)
    eventually(lambda: any("under way" in line for line in alone.logs(job_id)), "the SQL's notice")
    began = time.monotonic()
    alone.engine.prepare.cancel(job_id)
    job = alone.wait(job_id)
    assert time.monotonic() - began < PATIENCE
    assert (job.status, job.error["code"]) == ("failed", "cancelled")
    assert "running" not in alone.task_statuses(job_id).values()
    eventually(lambda: {process.pid for process in alone.processes()} <= before)
    assert alone.workspaces() == []
    assert alone.engine.prepare.delete(job_id).outcome == "deleted"


def test_identical_jobs_at_once_build_once(store):
    before = store.states()
    jobs = [store.submit("-c", "create table once as select 1 as n; select pg_sleep(0.5)")
            for _ in range(4)]  # fmt: skip
    logs = {}
    for job_id in jobs:
        assert store.wait(job_id).status == "succeeded"
        logs[job_id] = store.logs(job_id)
    assert len(store.states() - before) == 1
    assert sum("psql: start" in each for each in logs.values()) == 1
    waiting = [each for each in logs.values() if any("waiting for another job" in m for m in each)]
    assert len(waiting) == 3


def test_a_script_changed_while_it_runs_is_not_cached(store, scripts):
    script = scripts / "slow.sql"
    script.write_text("select pg_sleep(1);\n")
    before = store.states()
    job_id = store.submit("-f", str(script))
    eventually(lambda: "psql: start" in store.logs(job_id))
    script.write_text("select pg_sleep(1); -- changed\n")
    job = store.wait(job_id)
    assert (job.error["code"], job.error["details"]) == ("conflict", str(script))
    assert store.states() == before
    assert store.prepare("-f", str(script))["state_id"] in store.states() - before


def test_the_users_settings_count(store):
    plain = store.prepare("-c", "create table s as select current_setting('work_mem') as v")
    store.engine.config.set("postgres.settings", {"work_mem": "7MB"})
    try:
        other = store.prepare("-c", "create table s as select current_setting('work_mem') as v")
    finally:
        store.engine.config.remove("postgres.settings")
    assert other["state_id"] != plain["state_id"]
    assert query(other, "select v from s") == "7MB"
    assert query(plain, "select v from s") != "7MB"


def test_a_step_that_only_psql_can_read_is_not_reused(store, scripts):
    stdin = f"select '{scripts}/one.sql' as f \\gset\n\\i :f\n"
    one, other = (store.job("-f", "-", stdin=stdin) for _ in range(2))
    assert one.status == other.status == "succeeded"
    assert one.result["state_id"] != other.result["state_id"]
    assert any(line.startswith("not cacheable: ") for line in store.logs(one.job_id))


def test_text_that_a_script_generates_is_read_each_time(store, scripts):
    script = scripts / "gen.sql"
    script.write_text(
        "\\o made.sql\n\\qecho 'create table made as select' :n 'as n;'\n\\o\n\\i made.sql\n"
        "\\! echo 'insert into made values (7);' > more.sql\n\\ir more.sql\n"
    )
    for n in ("1", "1", "2"):
        job = store.job("-v", f"n={n}", "-f", str(script))
        assert job.status == "succeeded", job.error
        assert query(job.result, "select array_agg(n order by n) from made") == [int(n), 7]
        assert any("written by the script itself" in line for line in store.logs(job.job_id))


def test_output_of_a_scripts_program_is_read_each_time(store, scripts):
    """The script does not say what the program writes: that is seen when it was run."""
    (scripts / "gen").write_text('echo "create table p as select $1 as n;" > p.sql\n')
    for n in (1, 2, 3):
        (scripts / "main.sql").write_text(f"\\! sh gen {n}\n\\i p.sql\n")
        for _ in range(2):
            assert query(store.prepare("-f", str(scripts / "main.sql")), "select n from p") == n


def test_a_step_reads_what_an_earlier_one_writes(store, scripts):
    (scripts / "a.sql").write_text("\\o made.sql\n\\qecho 'create table m as select' :n 'as n;'\n")
    (scripts / "b.sql").write_text("\\i made.sql\n")
    (scripts / "made.sql").write_text("select 'old';\n")
    for n in (1, 1, 2):
        args = ("-v", f"n={n}", "-f", str(scripts / "a.sql"), "-f", str(scripts / "b.sql"))
        assert query(store.prepare(*args), "select n from m") == n


def test_psql_has_the_users_home(store, scripts):
    (scripts / "home.sql").write_text(
        "\\set h `echo \"$HOME\"`\ncreate table home as select :'h' as h;\n"
    )
    job = store.job("-f", str(scripts / "home.sql"))
    assert query(job.result, "select h from home") == os.environ["HOME"]
    assert any("the output of a program" in line for line in store.logs(job.job_id))


def test_a_script_does_not_reach_another_server(store, scripts):
    (scripts / "c.sql").write_text("\\c postgres postgres elsewhere\n")
    with pytest.raises(InvalidArgument, match="another server"):
        store.submit("-f", str(scripts / "c.sql"))


def test_a_plan_runs_nothing(store):
    before = store.states()
    job_id = store.submit("-c", "select 'only planned'", plan_only=True)
    job = store.wait(job_id)
    assert (job.status, job.result, store.cached(job_id)) == ("succeeded", None, [False])
    assert store.states() == before


def test_deleting_a_job_leaves_its_instance(store):
    job = store.job("-c", "create table kept as select 1 as n")
    assert store.engine.prepare.delete(job.job_id).outcome == "deleted"
    assert store.store.jobs.get(job.job_id) is None
    assert query(job.result, "select n from kept") == 1


def test_retention_leaves_instances(store):
    """With two identical jobs to be kept, the third one retires the first."""
    jobs = []
    for _ in range(4):
        jobs.append(store.job("-c", "create table retained as select 1 as n"))
        store.engine.prepare.read(jobs[-1])
    gone = [True, True, False, False]
    eventually(lambda: [store.store.jobs.get(job.job_id) is None for job in jobs] == gone)
    for job in jobs:
        assert query(job.result, "select n from retained") == 1


def test_includes_are_found_where_psql_finds_them(store, scripts):
    """Whatever psql reads is part of the state: each of these changes it when it changes."""
    (scripts / "sub").mkdir()
    (scripts / "sub/x.sql").write_text("select 1;\n")
    (scripts / "x.sql").write_text("select 1;\n")
    forms = {
        "one_line": "\\set a 1 \\i x.sql\n",
        "condition": "\\if true \\i x.sql \\endif\n",
        "quoted": "\\set a 'b\\\\c'\n\\i x.sql\n",
        "cd": "\\cd sub\n\\i x.sql\n",
        "data": "create table d (t text);\n\\copy d from stdin\nO'Brien\n\\.\n\\i x.sql\n",
        "sent": "create table d (t text);\ncopy d from stdin \\g\nO'Brien\n\\.\n\\i x.sql\n",
        "comment": "comment on schema public is 'copy from stdin';\n\\i x.sql\n",
    }

    def plan(script):
        request = single_stage(
            prepare_kind="psql", image_id=store.image, psql_args=("-f", str(script))
        )
        return store.engine.prepare.plan(request).state_ids

    args, before = [], {}
    for name, text in forms.items():
        script = scripts / f"{name}.sql"
        script.write_text(text)
        args += ["-f", str(script)]
        before[name] = plan(script)
    (scripts / "x.sql").write_text("select 1/0;\n")
    (scripts / "sub/x.sql").write_text("select 1/0;\n")
    for name in forms:
        script = scripts / f"{name}.sql"
        assert plan(script) != before[name], name
        # psql does read it.
        assert "x.sql:1: ERROR:  division by zero" in store.failure("-f", str(script))["details"]


def test_scripts_run_in_the_working_directory_of_a_request(store, scripts):
    """As in a shell in which ``psql -f db/all.sql`` is typed."""
    (scripts / "db").mkdir()
    (scripts / "data.csv").write_text("7\n")
    (scripts / "db/tables.sql").write_text("create table w (n int);\n\\ir rows.sql\n")
    (scripts / "db/rows.sql").write_text("\\copy w from 'data.csv'\n")
    script = scripts / "db/all.sql"
    script.write_text("\\i db/tables.sql\n\\! pwd\nselect n from w \\g g.txt\n\\w w.sql\n")
    args = ("-o", "o.txt", "-L", "log.txt", "-f", str(script))
    job = store.job(*args, work_dir=str(scripts))
    assert job.status == "succeeded", job.error
    assert query(job.result, "select n from w") == 7
    assert f"psql: {scripts}" in store.logs(job.job_id)
    written = {"g.txt", "w.sql", "o.txt", "log.txt"}
    assert written <= {path.name for path in scripts.iterdir()}
    assert {path.name for path in (scripts / "db").iterdir()} == {
        "all.sql", "tables.sql", "rows.sql"
    }  # fmt: skip
    again = store.job(*args, work_dir=str(scripts))
    assert store.cached(again.job_id) == [True]
    (scripts / "data.csv").write_text("8\n")
    assert query(store.prepare(*args, work_dir=str(scripts)), "select n from w") == 8
    # Without a working directory, it is the script's own.
    with pytest.raises(InvalidArgument, match="cannot read file: the working dir") as caught:
        store.submit("-f", str(script))
    missing = f"{script}:1: {scripts}/db/db/tables.sql"
    assert caught.value.details == f"{missing} (in {scripts}, there is db/tables.sql)"


def test_a_program_left_behind_does_not_hold_a_job(store, scripts):
    stdin = "\\! sleep 600 &\ncreate table bg as select 1 as n;\n"
    result = store.prepare("-f", "-", stdin=stdin, work_dir=str(scripts))
    assert query(result, "select n from bg") == 1

    def sleeping():
        return [p for p in psutil.process_iter(["cmdline"])
                if p.info["cmdline"] == ["sleep", "600"] and p.cwd() == str(scripts)]  # fmt: skip

    eventually(lambda: not sleeping())


def test_a_stopped_engine_resumes_its_jobs(image, tmp_path):
    """Stopped in the middle of a build, the next engine finishes the job."""
    store = Store(tmp_path / "store", image)
    job_id = store.submit("-c", "create table r as select 1 as n; select pg_sleep(1)")
    eventually(lambda: "psql: start" in store.logs(job_id), "psql")
    store.engine.stop()
    store.engine.close()
    assert store.processes() == []
    following = Store(tmp_path / "store", image)
    try:
        eventually(
            lambda: following.engine.prepare.active() or following.store.jobs.unfinished() == []
        )
        job = following.wait(job_id)
        assert job.status == "succeeded", job.error
        assert query(job.result, "select n from r") == 1
    finally:
        following.close()


# -- a full disk --


@pytest.fixture
def roomy_disk(monkeypatch):
    """An ext4 with room for a base state, two states and an instance."""
    command, _ = fix_mounts.MAKE["ext4"]
    monkeypatch.setitem(fix_mounts.MAKE, "ext4", (command, 200 * MIB))
    with fix_mounts.mounted("ext4") as root:
        yield root


def free(root: Path) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


def nothing_half_published(store: Store) -> None:
    """Every state has files and a row, and nothing else is there."""
    store.without_pool()
    assert store.engine.files.wait_idle(30)
    assert store.workspaces() == []
    directories = {path.name for path in store.engine.files.state_dirs()}
    assert directories == store.states()


@pytest.mark.root
def test_a_disk_too_small_for_a_clone(image, small_disk):
    store = Store(small_disk / "store", image)
    try:
        for _ in range(2):
            error = store.failure("-c", "select 1")
            assert error["code"] == "cache_full_unreclaimable"
            nothing_half_published(store)
        assert store.states() == set()
    finally:
        store.close()


@pytest.mark.root
def test_a_disk_filled_by_a_script(image, roomy_disk):
    store = Store(roomy_disk / "store", image)
    try:
        store.prepare("-c", "select 1")
        assert store.engine.files.wait_idle(30)
        before = free(roomy_disk)
        error = store.failure(
            "-c", "create table big as select repeat('x', 1000) from generate_series(1, 1000000)"
        )
        assert error["code"] == "cache_full_unreclaimable"
        assert "No space left on device" in error["details"]
        nothing_half_published(store)
        assert free(roomy_disk) > before - 5 * MIB
        assert store.prepare("-c", "select 2")["state_id"] in store.states()
    finally:
        store.close()


@pytest.mark.root
def test_a_disk_without_any_room(image, roomy_disk):
    """Even the job's end has to wait for room; then all is as if nothing had been."""
    store = Store(roomy_disk / "store", image)
    ballast = roomy_disk / "ballast"
    try:
        store.prepare("-c", "select 1")
        job_id = store.submit("-c", "select pg_sleep(2)")
        eventually(lambda: "psql: start" in store.logs(job_id))
        with ballast.open("wb", buffering=0) as file:
            fill(file, 65536)
            fill(file, 512)
        timer = threading.Timer(4, ballast.unlink)
        timer.start()
        job = store.wait(job_id)
        timer.join()
        assert job.status == "succeeded" or job.error["code"] == "cache_full_unreclaimable"
        assert "running" not in store.task_statuses(job_id).values()
        nothing_half_published(store)
        assert store.prepare("-c", "select 3")
    finally:
        ballast.unlink(missing_ok=True)
        store.close()


def fill(file, size: int) -> None:
    try:
        while True:
            file.write(b"x" * size)
    except OSError:
        return


def test_roles_of_the_configuration_count_from_the_beginning_of_a_job(store):
    script = ("-c", "select pg_sleep(1)", "-c", "create table t (); alter table t owner to app")
    plain = store.prepare("-c", "select 1")
    error = store.failure("-c", "create table t (); alter table t owner to app")
    assert error["code"] == "step_failed"
    assert error["details"].startswith('ERROR:  role "app" does not exist\nadvice: ')
    assert """postgres.roles '["app"]'""" in error["details"]
    store.engine.config.set("postgres.roles", ["app"])
    try:
        twice = store.failure("-c", "create role app")
        job_id = store.submit(*script)
        eventually(lambda: "psql: start" in store.logs(job_id))
    finally:
        store.engine.config.remove("postgres.roles")
    assert "app is one of postgres.roles" in twice["details"]
    job = store.wait(job_id)
    assert job.status == "succeeded", job.error
    assert job.result["image_id"] == plain["image_id"]
    assert store.prepare("-c", "select 1")["state_id"] == plain["state_id"]
    # What was made with other roles stays usable.
    later = store.engine.instances.creation.create(job.result["state_id"])
    assert (
        query({"dsn": later.dsn}, "select tableowner from pg_tables where tablename = 't'") == "app"
    )


def test_the_role_postgres_is_told_from_an_error_of_the_script(store):
    error = store.failure("-c", "create role postgres")
    assert error["details"].startswith('ERROR:  role "postgres" already exists\nadvice: ')
    assert "exists in every state" in error["details"]
    error = store.failure("-c", "create role twice", "-c", "create role twice")
    assert error["details"] == 'ERROR:  role "twice" already exists'


def test_a_locale_that_is_not_here_fails_the_job_and_leaves_nothing(store):
    before = list(store.root.glob("engines/*/*/bases/*"))
    store.engine.config.set("postgres.locale", "xx_XX.utf8")
    try:
        error = store.failure("-c", "select 1")
    finally:
        store.engine.config.remove("postgres.locale")
    assert error["code"] == "locale_unavailable"
    assert "xx_XX.utf8" in error["message"]
    assert list(store.root.glob("engines/*/*/bases/*")) == before
