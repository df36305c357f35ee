"""A Python client generated from the document, and the iterators of docs/clients.md.

What is run here is the document's own code, block by block.
"""

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import psycopg
import pytest
from support.fix_engine import EngineProcess

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """The code blocks of the document's chapter on Python."""
    document = (ROOT / "docs" / "clients.md").read_text()
    chapter = document.partition("\n## Python\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)


def execute(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", os.defpath)])
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PATH": path, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the generated package and the document's two modules."""
    directory = tmp_path_factory.mktemp("client")
    (directory / "openapi").symlink_to(ROOT / "openapi")
    (commands,) = blocks("sh")
    done = execute("bash", "-ec", commands, cwd=directory)
    assert done.returncode == 0, done.stdout + done.stderr
    (directory / "generated.txt").write_text(done.stdout + done.stderr)
    streams, program = blocks("python")
    (directory / "sqlrs_streams.py").write_text(streams)
    (directory / "prepare.py").write_text(program)
    return directory


@pytest.fixture
def streams(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module ``sqlrs_streams``; the generated package can be imported as well."""
    monkeypatch.syspath_prepend(str(project))
    yield importlib.import_module("sqlrs_streams")
    for name in [name for name in sys.modules if name.startswith("sqlrs_")]:
        if name.partition(".")[0] in ("sqlrs_streams", "sqlrs_client"):
            del sys.modules[name]


class Cutting(httpx.BaseTransport):
    """Breaks each of the first connections after so many bytes of the body."""

    def __init__(self, *limits: int) -> None:
        self._inner = httpx.HTTPTransport()
        self._limits = list(limits)
        self.ranges: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.ranges.append(request.headers.get("range"))
        response = self._inner.handle_request(request)
        if self._limits:
            response.stream = Cut(response.stream, self._limits.pop(0))
        return response

    def close(self) -> None:
        self._inner.close()


class Cut(httpx.SyncByteStream):
    def __init__(self, stream: object, limit: int) -> None:
        assert isinstance(stream, httpx.SyncByteStream)
        self._stream = stream
        self._limit = limit

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield chunk[: self._limit]
            self._limit -= len(chunk)
            if self._limit <= 0:
                raise httpx.ReadError("cut off")

    def close(self) -> None:
        self._stream.close()


def test_only_ndjson_is_beyond_the_generator(project: Path) -> None:
    output = (project / "generated.txt").read_text()
    warned = re.findall(r"^WARNING parsing (.*) within", output, re.MULTILINE)
    assert sorted(warned) == [
        "GET /v1/prepare-jobs/{jobId}/events",
        "GET /v1/prepare-jobs/{jobId}/events",
        "POST /v1/runs",
    ]
    assert output.count("Unsupported content_type application/x-ndjson") == len(warned)


def test_types_are_right(project: Path) -> None:
    # One module of the generator's own, the same for every document, is not strict.
    settings = "[mypy]\nstrict = True\n[mypy-sqlrs_client.client]\nignore_errors = True\n"
    (project / "mypy.ini").write_text(settings)
    done = execute("mypy", "sqlrs_client", "sqlrs_streams.py", "prepare.py", cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_prepares_follows_runs_and_deletes(
    engine: EngineProcess, project: Path
) -> None:
    done = execute(sys.executable, "prepare.py", str(engine.endpoint_file), cwd=project)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "status queued"
    assert "status succeeded" in lines
    assert "stdout 42" in lines
    assert lines[-2:] == ["exit 0", "deleted"]
    assert engine.call("GET", "/v1/instances").json() == []


def test_the_generated_client_prepares_lists_and_deletes(
    engine: EngineProcess, streams: ModuleType
) -> None:
    from sqlrs_client import AuthenticatedClient, models
    from sqlrs_client.api.instances import delete_instance, get_instance, list_instances
    from sqlrs_client.api.jobs import create_prepare_job, get_prepare_job
    from sqlrs_client.api.tasks import list_tasks

    with AuthenticatedClient(engine.base_url, engine.token) as client:
        args = ["-c", "create table answer as select 42 as n"]
        request = models.PrepareRequest(
            models.PrepareKind.PSQL, image_id="postgres", psql_args=args
        )
        accepted = create_prepare_job.sync(client=client, body=request)
        events = list(streams.follow(client.get_httpx_client(), accepted.job_id))
        job = get_prepare_job.sync(accepted.job_id, client=client)
        assert (events[-1].type_, events[-1].result) == ("result", job.result)
        with psycopg.connect(job.result.dsn) as connection:
            assert connection.execute("select n from answer").fetchone() == (42,)
        tasks = list_tasks.sync(client=client, job=accepted.job_id)
        assert {(task.job_id, task.status) for task in tasks} == {(accepted.job_id, "succeeded")}
        (row,) = list_instances.sync(client=client)
        assert get_instance.sync(row.instance_id, client=client).dsn == job.result.dsn
        foreseen = delete_instance.sync(row.instance_id, client=client, dry_run=True)
        assert (foreseen.outcome, foreseen.root.kind) == ("would_delete", "instance")
        assert delete_instance.sync(row.instance_id, client=client).outcome == "deleted"
        gone = get_instance.sync_detailed(row.instance_id, client=client)
        assert (gone.status_code, gone.parsed.code) == (404, "not_found")
        refused = models.PrepareRequest(
            models.PrepareKind.PSQL, image_id="postgres", psql_args=["-h", "x"]
        )
        error = create_prepare_job.sync(client=client, body=refused)
        assert (error.code, error.details) == ("invalid_argument", "-h")


def test_a_blocked_deletion_is_read_as_a_tree(engine: EngineProcess, streams: ModuleType) -> None:
    from sqlrs_client import AuthenticatedClient
    from sqlrs_client.api.states import delete_state
    from sqlrs_client.models import DeleteResult

    state_id = engine.prepare("-c", "select 1")["state_id"]
    with AuthenticatedClient(engine.base_url, engine.token) as client:
        answer = delete_state.sync_detailed(state_id, client=client)
        assert answer.status_code == 409
        assert isinstance(answer.parsed, DeleteResult)
        assert answer.parsed.root.blocked == "has_descendants"


def test_following_survives_broken_connections(engine: EngineProcess, streams: ModuleType) -> None:
    job_id = engine.submit("-c", "select 'ü', pg_sleep(0.5)")
    # Cut before the first line has ended, in the middle of one, and once more.
    transport = Cutting(10, 100, 250)
    with httpx.Client(
        base_url=engine.base_url, headers=engine.headers, transport=transport
    ) as http:
        followed = [event.to_dict() for event in streams.follow(http, job_id)]
    assert len(transport.ranges) == 4
    assert transport.ranges[:2] == ["events=0-", "events=0-"]
    kinds = [(event["type"], event.get("status")) for event in followed]
    assert kinds == [(event["type"], event.get("status")) for event in engine.events(job_id)]


def test_following_gives_up_after_some_attempts(engine: EngineProcess, streams: ModuleType) -> None:
    job_id = engine.submit("-c", "select 1")
    transport = Cutting(*[5] * 9)
    with (
        httpx.Client(base_url=engine.base_url, headers=engine.headers, transport=transport) as http,
        pytest.raises(httpx.ReadError, match="cut off"),
    ):
        list(streams.follow(http, job_id, retries=2))
    assert len(transport.ranges) == 3


def test_following_nothing_is_an_error(engine: EngineProcess, streams: ModuleType) -> None:
    with engine.client() as http, pytest.raises(httpx.HTTPStatusError, match="404"):
        list(streams.follow(http, "0" * 32))
