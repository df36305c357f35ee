"""The engine as its users meet it: a process of its own and an HTTP API."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

START_BUDGET = 30.0


class EngineFailedError(RuntimeError):
    """The engine did not do what the benchmark asked of it."""


class Engine:
    """Any engine that speaks the API: ours or another's."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    @classmethod
    def at(cls, endpoint: str, token: str) -> Self:
        """Return the engine at a URL."""
        return cls(
            httpx.Client(
                base_url=endpoint, headers={"Authorization": f"Bearer {token}"}, timeout=300
            )
        )

    @property
    def url(self) -> str:
        """The engine's address, without a slash at the end."""
        return str(self.http.base_url).rstrip("/")

    @property
    def token(self) -> str:
        """What it asks for."""
        return self.http.headers["Authorization"].removeprefix("Bearer ")

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Submit a preparation, follow its events to the end, return the finished job."""
        answer = self.http.post("/v1/prepare-jobs", json=request)
        if answer.is_error:
            raise EngineFailedError(answer.text)
        job = answer.json()
        with self.http.stream("GET", job["events_url"]) as events:
            for _ in events.iter_lines():
                pass
        finished: dict[str, Any] = self.http.get(job["status_url"]).json()
        if finished["status"] != "succeeded":
            raise EngineFailedError(json.dumps(finished.get("error")))
        return finished

    def delete(self, path: str, **options: str) -> None:
        """Delete an instance, or a state with its dependants; one already gone is fine."""
        answer = self.http.delete(path, params={"force": "true", **options})
        if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
            raise EngineFailedError(answer.text)

    @contextmanager
    def without_pool(self) -> Iterator[None]:
        """Have nothing ready before it is asked for; another's engine stays as it is."""
        yield

    def clear(self) -> None:
        """Delete all instances and states."""
        for instance in self.http.get("/v1/instances").json():
            self.delete(f"/v1/instances/{instance['instance_id']}")
        for state in self.http.get("/v1/states").json():
            self.delete(f"/v1/states/{state['state_id']}", recurse="true")


class Daemon(Engine):
    """An engine of our own, running; ``started_in`` is its seconds from exec to healthy.

    ``environ`` is added to its environment.
    """

    def __init__(
        self, directory: Path, store: Path, environ: Mapping[str, str] | None = None
    ) -> None:
        self._info_file = directory / "engine.json"
        log = directory / "benchmark.log"
        command = [sys.executable, "-m", "sqlrs_engine"]
        command += ["--run-dir", str(directory / "run"), "--listen", "127.0.0.1:0"]
        command += ["--write-engine-json", str(self._info_file), "--idle-timeout", "0s"]
        start = time.perf_counter()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=os.environ | {"SQLRS_STATE_STORE": str(store)} | dict(environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        super().__init__(self._connect(start + START_BUDGET, log))
        self.started_in = time.perf_counter() - start

    @contextmanager
    def without_pool(self) -> Iterator[None]:
        """Switch the warm pool off."""
        self._configure("pool.enabled", False)
        try:
            yield
        finally:
            self._configure("pool.enabled", True)

    def _configure(self, path: str, value: object) -> None:
        self.http.patch("/v1/config", json={"path": path, "value": value}).raise_for_status()

    def _connect(self, deadline: float, log: Path) -> httpx.Client:
        while time.perf_counter() < deadline:
            if self._process.poll() is not None:
                raise EngineFailedError(f"the engine ended at once:\n{log.read_text()}")
            try:
                info = json.loads(self._info_file.read_text())
                client = Engine.at(f"http://{info['endpoint']}", info["authToken"]).http
                client.get("/v1/health").raise_for_status()
            except (FileNotFoundError, httpx.TransportError):
                time.sleep(0.002)
            else:
                return client
        self._process.kill()
        raise EngineFailedError(f"the engine was not healthy in time:\n{log.read_text()}")

    def memory_mib(self) -> float:
        """Return the resident memory of the engine's process."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 2**20

    def stop(self) -> None:
        """End the engine as a service manager would."""
        self.http.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        try:
            self.clear()
        finally:
            self.stop()


@contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A directory for one engine on ``parent``'s filesystem, removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="sqlrs-benchmark-", dir=parent))
    directory.chmod(0o700)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, onerror=_make_writable)


def _make_writable(remove: Callable[[str], object], path: str, _: object) -> None:
    """Retry a removal that a read-only directory (a published state) refused."""
    for target in (Path(path).parent, Path(path)):
        if target.is_dir() and not target.is_symlink():
            target.chmod(stat.S_IRWXU)
    if Path(path).is_dir():
        shutil.rmtree(path)
    else:
        remove(path)
