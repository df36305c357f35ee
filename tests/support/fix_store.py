"""The parts of a real engine, as the engine puts them together, over a store of a test's own."""

import json
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from sqlrs_engine.engine.composition import Engine
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.store import InstanceFilter, StateFilter
from sqlrs_engine.store.records import Job
from support.prepare_requests import single_stage
from support.waiting import eventually


class Store:
    """An engine over a store of its own, and what tests do with it.

    ``patience`` is how many seconds a job may take, ``builds`` where installed versions are.
    """

    patience = 150.0

    def __init__(self, root: Path, image: str, builds: Path | None = None) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        self.image = image
        self.engine = Engine(root, builds=builds)
        self.engine.start()
        self.store = self.engine.store

    def close(self) -> None:
        for instance in self.store.instances.find(InstanceFilter()):
            self.engine.instances.removal.remove(instance.instance_id)
        self.engine.stop()
        self.engine.close()
        assert self.processes() == []

    def submit(self, *args: str, **fields) -> str:
        request = single_stage(prepare_kind="psql", image_id=self.image, psql_args=args, **fields)
        return self.engine.prepare.submit(request).job_id

    def submit_chain(self, *stages: dict, **fields) -> str:
        """Submit a chain; without ``from``, it starts from the store's image."""
        body = {"prepare_kind": "chain", "stages": list(stages), **fields}
        if "from" not in body:
            body.setdefault("image_id", self.image)
        return self.engine.prepare.submit(PrepareRequest.from_json(body)).job_id

    def explain(self, *stages: dict, **fields) -> dict:
        """The cache's decision about a chain."""
        body = {"prepare_kind": "chain", "stages": list(stages), **fields}
        return self.engine.services.cache.explain(PrepareRequest.from_json(body))

    def chain(self, *stages: dict, **fields) -> dict:
        """Prepare a chain, which succeeds; return the result."""
        job = self.wait(self.submit_chain(*stages, **fields))
        assert job.status == "succeeded", job.error
        return job.result

    def wait(self, job_id: str) -> Job:
        events = self.engine.prepare.events
        eventually(
            lambda: events.read(job_id, 0).state == "ended", f"the end of {job_id}", self.patience
        )
        job = self.store.jobs.get(job_id)
        assert job is not None
        return job

    def job(self, *args: str, **fields) -> Job:
        return self.wait(self.submit(*args, **fields))

    def prepare(self, *args: str, **fields) -> dict:
        job = self.job(*args, **fields)
        assert job.status == "succeeded", job.error
        return job.result

    def submit_and_wait(self, *args: str, **fields) -> str:
        return self.job(*args, **fields).job_id

    def failure(self, *args: str, **fields) -> dict:
        job = self.job(*args, **fields)
        assert job.status == "failed", job.result
        return job.error

    def logs(self, job_id: str) -> list[str]:
        events = map(json.loads, self.engine.prepare.events.read(job_id, 0).lines)
        return [event["message"] for event in events if event["type"] == "log"]

    def task_statuses(self, job_id: str) -> dict[str, str]:
        return {task.task_id: task.status for task in self.store.jobs.tasks(job_id)}

    def cached(self, job_id: str) -> list[bool]:
        tasks = self.store.jobs.tasks(job_id)
        return [bool(task.cached) for task in tasks if task.type == "state_execute"]

    def states(self) -> set[str]:
        return {state.state_id for state in self.store.states.find(StateFilter())}

    def without_pool(self) -> None:
        """Switch the warm pool off, and wait until nothing of it goes on."""
        self.engine.config.set("pool.enabled", False)
        pool = self.engine.instances.pool
        eventually(lambda: not pool.standbys() and not pool.being_made(), "no standbys")

    def workspaces(self) -> list[Path]:
        work = self.root / "work"
        return list(work.iterdir()) if work.exists() else []

    def processes(self) -> list[psutil.Process]:
        """Return what runs anywhere below the store."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.root):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found


def query(result, sql, **conninfo):
    with psycopg.connect(make_conninfo(result["dsn"], **conninfo)) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]
