"""Fixtures: the engine as a process of its own, started as clients start it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import ndjson
import psutil
import pytest

from sqlrs_engine.daemon import engine_file
from sqlrs_engine.daemon.engine_file import EngineRecord
from support import base_states
from support.directories import remove_tree

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def environment(home: Path, **extra: str) -> dict[str, str]:
    """Return a small environment in which the package under test can be imported."""
    return {
        "HOME": str(home),
        "SQLRS_IMAGE_STORE": str(home / "images"),
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        **extra,
    }


@dataclass
class EngineProcess:
    """An engine started from a command line, with a client of its API."""

    state_dir: Path
    store: Path
    command: list[str]
    environ: Mapping[str, str]
    cwd: Path
    user: int | None = None
    seeded: bool = True  # whether the base state is copied in before the first prepare
    process: subprocess.Popen[str] = field(init=False)

    @property
    def endpoint_file(self) -> Path:
        return self.state_dir / "engine.json"

    @property
    def log(self) -> str:
        path = self.state_dir / "logs" / "engine.log"
        return path.read_text() if path.exists() else ""

    @property
    def record(self) -> EngineRecord:
        record = engine_file.read(self.endpoint_file)
        assert record is not None, "no engine.json"
        return record

    @property
    def base_url(self) -> str:
        return self.record.base_url

    @property
    def token(self) -> str:
        return self.record.auth_token

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def start(self) -> "EngineProcess":
        """Start the process and wait until it is healthy."""
        self.spawn()
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.02)
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no healthy engine: {self.output()}\n{self.log}")
        return self

    def spawn(self) -> None:
        """Start the process."""
        if hasattr(self, "process") and self.process.stdout is not None:
            self.process.stdout.close()
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self.environ),
            cwd=self.cwd,
            process_group=0,
            text=True,
            user=self.user,
            group=self.user,
            extra_groups=None if self.user is None else [],
        )

    def healthy(self) -> bool:
        """Return whether the engine of engine.json is ours and answers."""
        record = engine_file.read(self.endpoint_file)
        if record is None or record.pid != self.process.pid:
            return False
        try:
            answer = httpx.get(f"{record.base_url}/v1/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return bool(answer.json()["instanceId"] == record.instance_id)

    def output(self) -> str:
        """Return what an ended process printed."""
        assert self.process.stdout is not None
        return self.process.stdout.read() if self.process.poll() is not None else ""

    def client(self, **options: Any) -> httpx.Client:
        """Return a client with the engine's address and token."""
        options.setdefault("timeout", 60)
        return httpx.Client(
            base_url=self.base_url, headers=self.headers, trust_env=False, **options
        )

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make one request, without following redirects."""
        with self.client() as client:
            return client.request(method, path, **options)

    def submit(self, *psql_args: str, image: str = "postgres:18", **fields: Any) -> str:
        """Submit a prepare of psql arguments and return the job's id."""
        if self.seeded and not (self.store / "engines").exists():
            base_states.seed(self.store)
        body = {"prepare_kind": "psql", "image_id": image, "psql_args": psql_args, **fields}
        answer = self.call("POST", "/v1/prepare-jobs", json=body)
        assert answer.status_code == 201, answer.text
        job_id: str = answer.json()["job_id"]
        return job_id

    def events(self, job_id: str) -> list[dict[str, Any]]:
        """Follow a job to its end and return all its events."""
        path = f"/v1/prepare-jobs/{job_id}/events"
        with self.client(timeout=120) as client, client.stream("GET", path) as response:
            assert response.status_code == 200
            text = response.read().decode()
        assert text.endswith("\n"), "the last line is not ended"
        return list(ndjson.reader(iter(text.split("\n")[:-1])))

    def prepare(self, *psql_args: str, **fields: Any) -> dict[str, Any]:
        """Prepare and return the result of the job, which must succeed."""
        job_id = self.submit(*psql_args, **fields)
        events = self.events(job_id)
        job = self.call("GET", f"/v1/prepare-jobs/{job_id}").json()
        assert job["status"] == "succeeded", (job.get("error"), events)
        result: dict[str, Any] = job["result"]
        return result

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30) -> int:
        """Send the signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """End the engine and everything that runs in its store."""
        if hasattr(self, "process"):
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.stop(signal.SIGKILL)
            assert self.process.stdout is not None
            self.process.stdout.close()
        end_processes_in(self.store)


EngineFactory = Callable[..., EngineProcess]


def end_processes_in(directory: Path) -> None:
    """End the processes that work in ``directory``, one by one.

    An initdb works elsewhere and names the directory; ended, it removes what it has made.
    """
    inside = [process for process in psutil.process_iter() if _works_in(process, directory)]
    pids = {process.pid for process in inside}
    # A postmaster told to quit at once takes its children with it.
    for process in inside:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.ppid() not in pids:
                process.send_signal(signal.SIGQUIT)
    _, alive = psutil.wait_procs(inside, timeout=10)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=10)


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        places = [process.cwd(), *process.cmdline()]
        return any(Path(place).is_relative_to(directory) for place in places)
    except (psutil.Error, OSError):
        return False


@contextlib.contextmanager
def engines() -> Iterator[EngineFactory]:
    """Yield a function that makes engines; all of them are taken down at the end.

    The function takes further flags of the daemon and ``state_dir``, ``environ`` (added
    to the environment), ``python``, ``user`` (a uid to run as), ``cwd``, and ``seeded``, which is
    false for engines that have to make their base state themselves.
    """
    with contextlib.ExitStack() as cleanup:

        def make(
            *flags: str,
            state_dir: Path | None = None,
            environ: Mapping[str, str] | None = None,
            python: str = sys.executable,
            user: int | None = None,
            cwd: Path = Path("/"),
            seeded: bool = True,
        ) -> EngineProcess:
            if state_dir is None:
                state_dir = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
                cleanup.callback(remove_tree, state_dir)
                if user is not None:
                    os.chown(state_dir, user, user)
            command = [python, "-m", "sqlrs_engine", "--run-dir", str(state_dir / "run")]
            command += ["--listen", "127.0.0.1:0"]
            command += ["--write-engine-json", str(state_dir / "engine.json"), *flags]
            extra = dict(environ or {})
            engine = EngineProcess(
                state_dir=state_dir,
                store=Path(extra.get("SQLRS_STATE_STORE", state_dir / "store")),
                command=command,
                environ=environment(state_dir, **extra),
                cwd=cwd,
                user=user,
                seeded=user is None and seeded,
            )
            cleanup.callback(engine.close)
            return engine

        yield make


@pytest.fixture
def engine_factory() -> Iterator[EngineFactory]:
    """Make engines of the test's own; call ``start()`` on what it returns."""
    with engines() as make:
        yield make


@pytest.fixture
def engine(engine_factory: EngineFactory) -> EngineProcess:
    """A running engine with an empty store of its own."""
    return engine_factory("--idle-timeout", "0").start()


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[EngineProcess]:
    """A running engine that the whole session shares: what others left is in its lists."""
    with engines() as make:
        yield make("--idle-timeout", "0").start()


@pytest.fixture
def http(engine: EngineProcess) -> Iterator[httpx.Client]:
    """A client of the test's own engine."""
    with engine.client() as client:
        yield client
