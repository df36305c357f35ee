"""Files that a step reads although its plan cannot foresee them: no state is served stale."""

import tempfile
from pathlib import Path

import pytest
from support.fix_store import Store, query

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
