"""Files that a step reads although its plan cannot foresee them: no state is served stale."""

import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.fix_store import Store, query
from support.waiting import eventually

from sqlrs_engine.prepare.request import PrepareRequest

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), "postgres:18")
    yield store
    store.close()


@pytest.fixture
def project():
    """A project that the server may read, too: pytest's directories are closed to it."""
    with tempfile.TemporaryDirectory(prefix="observed-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        (root / "db").mkdir()
        (root / "data").mkdir()
        (root / "data/values.csv").write_text("1\n2\n")
        (root / "data/extra.sql").write_text("insert into t values (1), (2);\n")
        yield root


def script(project: Path, body: str) -> str:
    path = project / "db/main.sql"
    path.write_text(f"create table t (n int);\n{body}\n")
    return str(path)


INSERT = "insert into t select unnest(string_to_array(trim(:'text', e'\\n'), e'\\n')::int[]);"
WAYS = {
    "an include by a variable that psql sets": (
        "data/extra.sql",
        "select 'data/extra' || '.sql' as name \\gset\n\\i :name",
    ),
    "a program that copies": (
        "data/values.csv",
        "\\copy t from program 'cat data/values.csv'",
    ),
    "backquotes": (
        "data/values.csv",
        "\\set text `cat data/values.csv`\n{INSERT}",
    ),
    "a shell command": (
        "data/extra.sql",
        "\\! psql -Xqf data/extra.sql",
    ),
    "the server": (
        "data/values.csv",
        "select pg_read_file('{project}/data/values.csv') as text \\gset\n{INSERT}",
    ),
}
CHANGED = {
    "data/extra.sql": "insert into t values (1), (2), (3);\n",
    "data/values.csv": "1\n2\n3\n",
}


@pytest.mark.parametrize("way", WAYS)
def test_each_content_of_an_unforeseen_file_has_its_state(store, project, way):
    file, body = WAYS[way]
    body = body.replace("{project}", str(project)).replace("{INSERT}", INSERT)
    after = "create table after as select count(*) as n from t"
    args = ("-f", script(project, body), "-c", after)
    before = (project / file).read_text()

    def prepare():
        job_id = store.submit_and_wait(*args, work_dir=str(project))
        job = store.store.jobs.get(job_id)
        assert job.status == "succeeded", (job.error, store.logs(job_id))
        return job.result, store.cached(job_id), store.logs(job_id)

    first, cached, log = prepare()
    assert cached == [False, False]
    assert any("observed: it read" in line and file in line for line in log), "\n".join(log)
    assert prepare()[1] == [True, True]
    (project / file).write_text(CHANGED[file])
    second, cached, _ = prepare()
    assert cached == [False, False]
    assert prepare()[1] == [True, True]
    (project / file).write_text(before)
    third, cached, _ = prepare()
    assert cached == [True, True]
    (project / file).write_text(CHANGED[file])
    fourth, cached, _ = prepare()
    assert cached == [True, True]
    assert first["state_id"] == third["state_id"] != second["state_id"] == fourth["state_id"]
    assert query(second, "select n from after") == query(first, "select n from after") + 1


def outcome(store, job_id):
    """Return the result of a job that must succeed, and which steps were cached."""
    job = store.wait(job_id)
    assert job.status == "succeeded", (job.error, store.logs(job_id))
    return job.result, store.cached(job_id)


def changes(store, body):
    decision = store.engine.services.cache.explain(PrepareRequest.from_json(body))
    return [(each["kind"], each["name"]) for each in decision.get("changes", [])]


MIGRATE = """
import os, pathlib, psycopg
root = pathlib.Path(".")
with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("create table made (line text)")
    for path in [root / "settings.txt", *sorted((root / "extra").glob("*.txt"))]:
        connection.execute("insert into made values (%s)", [path.read_text()])
"""


@pytest.fixture
def command(project):
    (project / "migrate.py").write_text(f"{MIGRATE}# {project}\n")  # states of its own
    (project / "settings.txt").write_text("one")
    (project / "extra").mkdir()
    (project / "extra/a.txt").write_text("a")
    stage = {
        "kind": "command",
        "argv": [sys.executable, "migrate.py"],
        "inputs": ["migrate.py"],
        "work_dir": str(project),
    }
    return {"prepare_kind": "chain", "image_id": "postgres:18", "stages": [stage]}


def submitted(store, body):
    return outcome(store, store.engine.prepare.submit(PrepareRequest.from_json(body)).job_id)


def test_undeclared_reads_of_a_command_count_and_are_explained(store, project, command):
    first, cached = submitted(store, command)
    assert cached == [False]
    assert submitted(store, command)[1] == [True]
    (project / "settings.txt").write_text("two")
    assert changes(store, command) == [("observed", str(project / "settings.txt"))]
    second, cached = submitted(store, command)
    assert cached == [False]
    assert query(second, "select string_agg(line, ',' order by line) from made") == "a,two"
    (project / "settings.txt").write_text("one")
    third, cached = submitted(store, command)
    assert (third["state_id"], cached) == (first["state_id"], [True])


def test_programs_of_the_system_are_no_inputs(store, project, command):
    command["stages"][0] |= {"argv": ["sh", "-c", "cat settings.txt; ls > /dev/null"], "inputs": []}
    result, _ = submitted(store, command)
    inputs = store.store.states.observed()[result["state_id"]]
    assert [(each.kind, each.path) for each in inputs] == [
        ("file", "settings.txt"),
        ("directory", "."),
    ]


def test_a_new_file_in_a_listed_directory_counts(store, project, command):
    submitted(store, command)
    (project / "notes.md").write_text("nobody lists this directory")
    assert submitted(store, command)[1] == [True]
    (project / "extra/b.txt").write_text("b")
    assert changes(store, command) == [("observed", str(project / "extra"))]
    result, cached = submitted(store, command)
    assert cached == [False]
    assert query(result, "select string_agg(line, ',' order by line) from made") == "a,b,one"
    (project / "extra/b.txt").unlink()
    assert submitted(store, command)[1] == [True]


def test_a_moved_checkout_is_a_hit_and_another_one_is_not(store, project, command, tmp_path):
    first, _ = submitted(store, command)
    copy = shutil.copytree(project, tmp_path / "copy")
    command["stages"][0]["work_dir"] = str(copy)
    moved, cached = submitted(store, command)
    assert (moved["state_id"], cached) == (first["state_id"], [True])
    (copy / "settings.txt").write_text("other")
    assert submitted(store, command)[1] == [False]
    command["stages"][0]["work_dir"] = str(project)
    assert submitted(store, command)[1] == [True]


def test_a_plan_has_the_ids_of_the_files_as_they_are(store, project, command):
    submitted(store, command)
    (project / "settings.txt").write_text("two")
    plan = store.engine.prepare.plan(PrepareRequest.from_json(command))
    assert submitted(store, command)[0]["state_id"] == plan.state_ids[-1]


def test_the_files_that_a_command_opens_are_listed(store, project, command):
    submitted(store, command)
    command["stages"][0]["trace_inputs"] = True
    result, cached = submitted(store, command)
    assert cached == [False]
    assert result["traced_inputs"] == [
        {"path": "extra/a.txt", "declared": False},
        {"path": "migrate.py", "declared": True},
        {"path": "settings.txt", "declared": False},
    ]
    command["stages"][0].pop("trace_inputs")
    assert submitted(store, command)[1] == [True]


def test_links_count_by_where_they_lead(store, project, command):
    (project / "settings.txt").rename(project / "one.txt")
    (project / "other.txt").write_text("other")
    (project / "settings.txt").symlink_to("one.txt")
    submitted(store, command)
    assert submitted(store, command)[1] == [True]
    (project / "settings.txt").unlink()
    (project / "settings.txt").symlink_to("other.txt")
    assert changes(store, command) == [("observed", str(project / "settings.txt"))]
    result, cached = submitted(store, command)
    assert cached == [False]
    assert query(result, "select string_agg(line, ',' order by line) from made") == "a,other"


def test_a_file_that_the_step_rewrites_runs_it_again_until_it_stays_the_same(
    store, project, command
):
    writes = "settings = root / 'settings.txt'\nsettings.write_text(settings.read_text()[:3])\n"
    (project / "migrate.py").write_text(f"{MIGRATE}\n{writes}")
    (project / "settings.txt").write_text("longer")
    assert submitted(store, command)[1] == [False]  # "longer" becomes "lon"
    assert submitted(store, command)[1] == [False]  # it is read as "lon", and stays so
    assert submitted(store, command)[1] == [True]


WAITS = ("-c", "\\! touch began; while [ ! -e go ]; do sleep 0.02; done; rm began go")


@contextmanager
def running(store, project):
    """A psql step that waits until the block has ended."""
    job_id = store.submit(*WAITS, work_dir=str(project))
    eventually((project / "began").exists, "the step")
    yield job_id
    (project / "go").touch()


def test_what_others_read_meanwhile_costs_one_run(store, project):
    (project / "noise.txt").write_text("one")
    with running(store, project) as job_id:
        (project / "noise.txt").read_text()
    first, cached = outcome(store, job_id)
    assert cached == [False]
    (project / "noise.txt").write_text("two")
    with running(store, project) as job_id:
        pass
    assert outcome(store, job_id)[1] == [False]
    for content in ("three", "two", "one"):
        (project / "noise.txt").write_text(content)
        result, cached = outcome(store, store.submit(*WAITS, work_dir=str(project)))
        assert (result["state_id"], cached) == (first["state_id"], [True])


def test_of_two_checkouts_at_once_each_gets_its_own(store, project, tmp_path):
    copy = shutil.copytree(project, tmp_path / "copy")
    (copy / "data/values.csv").write_text("1\n2\n3\n")
    main = script(project, "\\copy t from program 'sleep 0.5; cat data/values.csv'")
    shutil.copy(main, copy / "db/main.sql")
    jobs = [
        store.submit("-f", str(root / "db/main.sql"), work_dir=str(root))
        for root in (project, copy)
    ]
    results = [outcome(store, job)[0] for job in jobs]
    assert [query(result, "select count(*) from t") for result in results] == [2, 3]
    for root, expected in ((project, 2), (copy, 3)):
        job = store.submit("-f", str(root / "db/main.sql"), work_dir=str(root))
        result, cached = outcome(store, job)
        assert (query(result, "select count(*) from t"), cached) == (expected, [True])


def test_a_state_is_never_made_again_of_other_files_than_its_children(store, project):
    """It has no files, as it is cheap; its children have. A file changes while it is under way."""
    values, main = project / "data/values.csv", script(project, WAYS["a program that copies"][1])
    go = project / "go"

    def chain(name):
        after = [f"create table {name}{n} as select count(*) as n from t" for n in range(4)]
        steps = [arg for each in after for arg in ("-c", each)]
        waits = f"{WAITS[1]}  # {project}"  # a state of its own
        return store.submit("-c", waits, "-f", main, *steps, work_dir=str(project))

    go.touch()
    first, _ = outcome(store, chain("a"))
    job_id = chain("b")
    eventually((project / "began").exists, "the step")
    values.write_text("1\n2\n3\n")
    go.touch()
    eventually(lambda: not go.exists(), "the step's end")
    go.touch()  # for the run after the next plan
    second, _ = outcome(store, job_id)
    go.touch()
    third, _ = outcome(store, chain("a"))
    assert [query(each, "select count(*) from t") for each in (first, second, third)] == [2, 3, 3]
    values.write_text("1\n2\n")
    go.touch()
    assert outcome(store, chain("a"))[0]["state_id"] == first["state_id"]
