"""Preparing from the files of another machine, over HTTP, as the sqlrs client does it."""

import hashlib
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from support import fix_liquibase
from support.fix_engine import EngineFactory, EngineProcess
from support.waiting import eventually

pytestmark = pytest.mark.postgres

ROUNDS = 8  # what the client is content with by default
TREE = {
    "sql/main.sql": "\\i tables.sql\n\\ir views/all.sql\n\\copy t from 'data/t.csv' csv\n",
    "sql/tables.sql": "create table t (id int);\n",
    "sql/views/all.sql": "\\ir ../common/one.sql\n",
    "sql/common/one.sql": "create view one as select 1 as n;\n",
    "sql/data/t.csv": "1\n2\n3\n",
}


@dataclass
class RemoteClient:
    """The client's side of the handshake, over files that only it can see."""

    engine: EngineProcess
    files: dict[str, str]
    root: str = "/client/project"
    hashes: dict[str, str] = field(default_factory=dict)
    listings: dict[str, Any] = field(default_factory=dict)
    rounds: int = 0
    uploaded: list[str] = field(default_factory=list)

    def ask(self, path: str, *args: str, **fields: Any) -> httpx.Response:
        """Make a request once."""
        body = {
            "prepare_kind": "psql",
            "image_id": "postgres:18",
            "psql_args": args,
            "work_dir": self.root,
            "source_manifest": {
                "workspace_ref": {
                    "root_id": "default",
                    "root_path": self.root,
                    "work_dir": self.root,
                },
                "files": self.hashes or None,
                "directories": self.listings or None,
            },
            **fields,
        }
        return self.engine.call("POST", path, json=body)

    def request(self, path: str, *args: str, **fields: Any) -> httpx.Response:
        """Repeat a request until nothing is missing."""
        while True:
            answer = self.ask(path, *args, **fields)
            if answer.status_code != 409:
                return answer
            missing = answer.json()
            assert missing["code"] == "source_inputs_missing", missing
            self.rounds += 1
            assert self.rounds <= ROUNDS
            for entry in missing.get("missing_manifest_entries", ()):
                self._describe(entry)
            for blob in missing.get("missing_blobs", ()):
                assert self.put(blob["path"], blob["hash"]).status_code == 204
                self.uploaded.append(blob["path"])

    def submit(self, *args: str) -> str:
        answer = self.request("/v1/prepare-jobs", *args)
        assert answer.status_code == 201, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    def prepare(self, *args: str) -> dict[str, Any]:
        job_id = self.submit(*args)
        events = self.engine.events(job_id)
        assert events[-1]["type"] == "result", events
        result: dict[str, Any] = events[-1]["result"]
        return result

    def put(self, path: str, digest: str) -> httpx.Response:
        """Upload a file without saying how long it is, as Go does for a reader."""
        content = self.files[path].encode()
        url = f"/v1/source-blobs/sha256/{digest.removeprefix('sha256:')}"
        return self.engine.call("PUT", url, content=iter([content[:5], content[5:]]))

    def _describe(self, entry: dict[str, str]) -> None:
        path = entry["path"]
        if entry["kind"] == "file_hash":
            digest = hashlib.sha256(self.files[path].encode()).hexdigest()
            self.hashes[path] = f"sha256:{digest}"
            return
        prefix = "" if path == "." else f"{path}/"
        assert any(name.startswith(prefix) for name in self.files), f"no directory {path}"
        names = {
            name.removeprefix(prefix).partition("/")
            for name in self.files
            if name.startswith(prefix)
        }
        self.listings[path] = {
            "entries": [
                {"name": name, "kind": "directory" if slash else "file"}
                for name, slash, _ in sorted(names)
            ],
            "complete": True,
        }


def query(dsn: str, sql: str) -> Any:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def trees(engine: EngineProcess) -> list[Path]:
    return list((engine.store / "sources").iterdir())


def test_files_come_round_by_round(engine: EngineProcess) -> None:
    client = RemoteClient(engine, TREE)
    first = client.ask("/v1/prepare-jobs", "-f", "/client/project/sql/main.sql")
    assert first.status_code == 409
    assert first.json() == {
        "code": "source_inputs_missing",
        "message": "source inputs are missing: complete the manifest, and upload the files",
        "missing_manifest_entries": [{"path": "sql/main.sql", "kind": "file_hash"}],
    }
    jobs = engine.call("GET", "/v1/prepare-jobs").json()
    result = client.prepare("-f", "/client/project/sql/main.sql")
    assert query(result["dsn"], "select sum(id) from t") == 6
    assert query(result["dsn"], "select n from one") == 1
    assert client.rounds > 2
    assert sorted(client.uploaded) == sorted(TREE)
    # No round but the last made a job.
    assert len(engine.call("GET", "/v1/prepare-jobs").json()) <= len(jobs) + 1
    assert trees(engine) == []


def test_a_long_chain_of_includes_is_fetched_before_the_client_gives_up(
    shared_engine: EngineProcess,
) -> None:
    links = {f"sql/{n:02}.sql": f"\\ir {n + 1:02}.sql\n" for n in range(11)}
    client = RemoteClient(shared_engine, {**links, "sql/11.sql": "create table deep (n int);\n"})
    result = client.prepare("-f", "/client/project/sql/00.sql")
    assert query(result["dsn"], "select count(*) from deep") == 0
    assert sorted(client.uploaded) == sorted(client.files)


CHANGELOG = {
    "db/changelog/master.yaml": """databaseChangeLog:
  - include:
      file: changes/one.yaml
      relativeToChangelogFile: true
  - includeAll:
      path: db/changelog/more/
""",
    "db/changelog/changes/one.yaml": """databaseChangeLog:
  - changeSet:
      id: one
      author: a
      changes:
        - sqlFile: { path: sql/t.sql, relativeToChangelogFile: true }
        - loadData:
            tableName: t
            file: db/data/t.csv
            columns: [{ column: { name: n, type: numeric } }]
""",
    "db/changelog/changes/sql/t.sql": "create table t (n int);\n",
    "db/data/t.csv": "n\n1\n2\n3\n",
    "db/changelog/more/a.sql": "--liquibase formatted sql\n--changeset a:two\n"
    "create view v as select sum(n) as s from t;\n",
    "db/changelog/more/deep/b.sql": "--liquibase formatted sql\n--changeset a:three\n"
    "create view w as select s from v;\n",
    "src/unrelated.xml": "<x/>",
}


def test_a_changelog_comes_from_afar(shared_engine: EngineProcess, tmp_path: Path) -> None:
    fix_liquibase.found()
    client = RemoteClient(shared_engine, CHANGELOG)
    args = ["update", "--changelog-file", "/client/project/db/changelog/master.yaml"]
    fields: dict[str, Any] = {"prepare_kind": "lb", "psql_args": None, "liquibase_args": args}
    explain = "/v1/cache/explain/prepare"
    answer = client.request(explain, **fields)
    assert answer.status_code == 200, answer.text
    assert answer.json()["decision"] == "miss"
    assert client.uploaded
    assert "src/unrelated.xml" not in client.hashes
    planned = client.request("/v1/prepare-jobs", **fields, plan_only=True).json()["job_id"]
    shared_engine.events(planned)
    job_id = client.request("/v1/prepare-jobs", **fields).json()["job_id"]
    events = shared_engine.events(job_id)
    assert events[-1]["type"] == "result", events
    result = events[-1]["result"]
    assert query(result["dsn"], "select s from w") == 6
    assert result["prepare_args_normalized"].endswith("--changelog-file=db/changelog/master.yaml")
    assert str(shared_engine.store) not in str(events)
    plan = shared_engine.call("GET", f"/v1/prepare-jobs/{planned}").json()
    assert plan["tasks"][-1]["input"]["id"] == result["state_id"]
    assert client.request(explain, **fields).json()["decision"] == "hit"
    # The states are those of the same files here.
    write(tmp_path, CHANGELOG)
    body = {
        "prepare_kind": "lb",
        "image_id": "postgres:18",
        "liquibase_args": ["update", "--changelog-file", f"{tmp_path}/db/changelog/master.yaml"],
        "work_dir": str(tmp_path),
        "plan_only": True,
    }
    here = shared_engine.call("POST", "/v1/prepare-jobs", json=body).json()["job_id"]
    shared_engine.events(here)
    tasks = shared_engine.call("GET", f"/v1/prepare-jobs/{here}").json()["tasks"]
    assert tasks[-1]["input"]["id"] == result["state_id"]
    assert trees(shared_engine) == []


def test_liquibase_speaks_of_the_clients_files(shared_engine: EngineProcess) -> None:
    fix_liquibase.found()
    client = RemoteClient(shared_engine, {"db/bad.xml": "<nonsense/>"})
    args = ["update", "--changelog-file", "/client/project/db/bad.xml"]
    answer = client.request(
        "/v1/prepare-jobs", prepare_kind="lb", psql_args=None, liquibase_args=args
    )
    events = shared_engine.events(answer.json()["job_id"])
    assert events[-1]["error"]["code"] == "step_failed"
    assert str(shared_engine.store) not in str(events)
    assert trees(shared_engine) == []


def test_explain_takes_part(shared_engine: EngineProcess) -> None:
    client = RemoteClient(shared_engine, {"e.sql": "select 'explained from afar';\n"})
    path = "/v1/cache/explain/prepare"
    args = ("-f", "/client/project/e.sql")
    answer = client.ask(path, *args)
    if answer.status_code == 501:
        pytest.skip("this engine does not explain yet")
    assert client.request(path, *args).json()["decision"] == "miss"
    client.prepare(*args)
    assert client.request(path, *args).json()["decision"] == "hit"
    assert client.uploaded == ["e.sql"]


def test_the_state_is_that_of_the_same_files_here(
    shared_engine: EngineProcess, tmp_path: Path
) -> None:
    files = {**TREE, "sql/tables.sql": "create table t (id int, unique (id));\n"}
    write(tmp_path, files)
    here = shared_engine.prepare("-f", str(tmp_path / "sql/main.sql"))
    for root, path in (
        ("/client/project", "/client/project/sql/main.sql"),
        (r"C:\work\project", r"C:\work\project\sql\main.sql"),
    ):
        client = RemoteClient(shared_engine, files, root)
        job_id = client.submit("-f", path)
        result = shared_engine.events(job_id)[-1]["result"]
        assert result["state_id"] == here["state_id"]
        job = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
        assert [t["cached"] for t in job["tasks"] if t["type"] == "state_execute"] == [True]


def test_a_path_that_exists_here_too_is_not_read(
    shared_engine: EngineProcess, tmp_path: Path
) -> None:
    write(tmp_path, {"a.sql": "create table wrong ();\n", "b.sql": "create table wrong2 ();\n"})
    theirs = {"a.sql": "create table theirs as select 1;\n\\ir b.sql\n", "b.sql": "select 1;\n"}
    client = RemoteClient(shared_engine, theirs, str(tmp_path))
    dsn = client.prepare("-f", str(tmp_path / "a.sql"))["dsn"]
    tables = query(dsn, "select array_agg(tablename) from pg_tables where schemaname = 'public'")
    assert tables == ["theirs"]


def test_psql_speaks_of_the_clients_files(shared_engine: EngineProcess) -> None:
    files = {"main.sql": "select 1;\n\\ir sub/bad.sql\n", "sub/bad.sql": "\nselect nonsense;\n"}
    client = RemoteClient(shared_engine, files)
    job_id = client.submit("-f", "/client/project/main.sql")
    events = shared_engine.events(job_id)
    error = events[-1]["error"]
    assert error["code"] == "step_failed"
    assert "/client/project/sub/bad.sql:2: ERROR:" in error["details"]
    assert str(shared_engine.store) not in str(events)
    assert trees(shared_engine) == []


def test_a_script_that_changes_its_inputs_is_not_cached(shared_engine: EngineProcess) -> None:
    for program in ("echo 2 >> d.csv", "for f in *.csv; do echo 2 >> $f; done"):
        script = f"\\! {program}\n\\copy t from d.csv\n"
        client = RemoteClient(shared_engine, {"main.sql": script, "d.csv": "1\n"})
        args = ("-c", "create table t (n int)", "-f", "/client/project/main.sql")
        for _ in range(2):
            job_id = client.submit(*args)
            result = shared_engine.events(job_id)[-1]["result"]
            assert query(result["dsn"], "select array_agg(n order by n) from t") == [1, 2]
        job = shared_engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
        assert [t["cached"] for t in job["tasks"] if t["type"] == "state_execute"] == [True, False]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("-f", "/etc/passwd"), "the file is outside the workspace: move it inside"),
        (("-f", "/client/project/../x.sql"), "the file is outside the workspace: move it inside"),
        (("-c", "\\i ../x.sql"), "the file is outside the workspace: move it inside"),
        (("-c", "\\i /client/project/x.sql"), "absolute paths in scripts are not allowed"),
        (("-c", "\\copy t from '/etc/passwd'"), "absolute paths in scripts are not allowed"),
    ],
)
def test_files_outside_the_workspace_are_refused(
    shared_engine: EngineProcess, args: tuple[str, ...], message: str
) -> None:
    answer = RemoteClient(shared_engine, {}).ask("/v1/prepare-jobs", *args)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")
    assert answer.json()["message"].startswith(message)


@pytest.mark.parametrize("key", ["../x.sql", "/x.sql", "a/../../x.sql", "a\\x.sql", "C:/x.sql"])
def test_manifests_lead_nowhere_else(shared_engine: EngineProcess, key: str) -> None:
    client = RemoteClient(shared_engine, {}, hashes={key: "sha256:" + "ab" * 32})
    answer = client.ask("/v1/prepare-jobs", "-c", "select 1")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


def test_uploads_are_checked(engine: EngineProcess) -> None:
    client = RemoteClient(engine, {"a.sql": "select 1;\n", "large.sql": "x" * 300_000})
    digest = hashlib.sha256(b"select 1;\n").hexdigest()
    assert client.put("large.sql", digest).json()["code"] == "invalid_argument"
    assert client.put("a.sql", digest).status_code == 204
    assert client.put("a.sql", digest).status_code == 204
    setting = {"path": "sources.blobs.maxBytes", "value": 100_000}
    assert engine.call("PATCH", "/v1/config", json=setting).status_code == 200
    answer = client.put("large.sql", hashlib.sha256(b"x" * 300_000).hexdigest())
    assert (answer.status_code, answer.json()["code"]) == (413, "source_blob_too_large")
    assert "100000" in answer.json()["message"]
    stored = [path.name for path in (engine.store / "blobs").rglob("*") if path.is_file()]
    assert stored == [digest]
    without_token = httpx.put(
        f"{engine.base_url}/v1/source-blobs/sha256/{digest}", content=b"select 1;\n"
    )
    assert without_token.status_code == 401


def test_a_large_file_is_not_held_in_memory(shared_engine: EngineProcess) -> None:
    piece, count = b"-- padding\n" * 100_000, 80
    digest = hashlib.sha256(piece * count).hexdigest()
    path = f"/v1/source-blobs/sha256/{digest}"
    before = peak_memory(shared_engine)
    answer = shared_engine.call("PUT", path, content=(piece for _ in range(count)))
    assert answer.status_code == 204
    assert peak_memory(shared_engine) - before < len(piece) * count // 2


def peak_memory(engine: EngineProcess) -> int:
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_a_job_is_resumed_after_a_kill(engine_factory: EngineFactory) -> None:
    engine = engine_factory("--idle-timeout", "0").start()
    files = {
        "main.sql": "\\ir wait.sql\n\\copy t from 'd.csv'\n",
        "wait.sql": "create table t (n int);\nselect pg_sleep(3);\n",
        "d.csv": "7\n",
    }
    job_id = RemoteClient(engine, files).submit("-f", "/client/project/main.sql")
    eventually(lambda: is_running(engine), "the start of the job")
    engine.stop(signal.SIGKILL)
    engine.start()
    result = engine.events(job_id)[-1]["result"]
    assert query(result["dsn"], "select n from t") == 7
    assert trees(engine) == []


def is_running(engine: EngineProcess) -> bool:
    """Return whether psql has files to read."""
    tasks = engine.call("GET", "/v1/tasks").json()
    if "running" not in [task["status"] for task in tasks]:
        return False
    return (engine.store / "sources").is_dir() and trees(engine) != []
