"""Preparations without PostgreSQL: clusters that are directories, a psql that is a script.

A cluster's data is the text of ``<container>/content``. The fake psql is a shell script that
finds its cluster in ``$DATA`` and does what the input says, as shell.
"""

import contextlib
import itertools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlrs_engine.clock import utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.errors import ClusterFailed, Conflict, ImageUnavailable
from sqlrs_engine.ids import new_id
from sqlrs_engine.instances.disk_budget import DiskBudget, Unlimited
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build.build_locks import BuildLocks
from sqlrs_engine.prepare.build.builder import Builder
from sqlrs_engine.prepare.draft import Draft
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.jobs.events import EventLog
from sqlrs_engine.prepare.jobs.origins import Origins
from sqlrs_engine.prepare.jobs.service import PrepareService
from sqlrs_engine.prepare.jobs.services import Services
from sqlrs_engine.prepare.observation.observer import Observation
from sqlrs_engine.prepare.observation.values import InputValues
from sqlrs_engine.prepare.plan import Configured, Plan
from sqlrs_engine.prepare.planner import Planner
from sqlrs_engine.prepare.psql.interpreter.session import SessionStart
from sqlrs_engine.prepare.psql.local_files import LocalFiles
from sqlrs_engine.prepare.psql.planner import PsqlPlanner
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.prepare.stages import PsqlStage
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.registry import Registry
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.sources import Blobs, Trees
from sqlrs_engine.states.durability import Durability
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.observed_inputs import ObservedInputs
from sqlrs_engine.states.states import States
from sqlrs_engine.store.records import Instance, Job
from sqlrs_engine.store.sqlite import SqliteStore
from support.prepare_requests import single_stage
from support.waiting import PATIENCE, eventually

IMAGE = "postgres@sha256:" + "ab" * 32

PSQL = r"""#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
        -c) eval "$2" ;;
        -f) if [ "$2" = - ]; then . /dev/stdin; else . "$2"; fi ;;
    esac
    shift
done
"""


def psql_planner(blobs: Blobs | None = None, trees: Trees | None = None) -> PsqlPlanner:
    """A planner that remembers nothing yet."""
    return PsqlPlanner(LocalFiles(), blobs, trees)


def psql_draft(
    planner: PsqlPlanner, request: PrepareRequest, configured: Configured | None = None
) -> Draft:
    """The draft of a request."""
    configured = configured or Configured()
    (stage,) = request.stages
    assert isinstance(stage, PsqlStage)
    draft = planner.draft(stage, SessionStart.of(configured.settings))
    return Draft(request=request, configured=configured, stages=(draft,))


def psql_plan(
    planner: PsqlPlanner,
    request: PrepareRequest,
    distribution: Distribution,
    settings: dict[str, Any] | None = None,
    base: BaseRecipe | None = None,
) -> Plan:
    """The plan of a request, by way of a draft."""
    context = JobContext(Cancellation(), lambda line: None)
    configured = Configured(settings=settings or {}, base=base or BaseRecipe())
    return psql_draft(planner, request, configured).plan(distribution, context)


class FakeFiles:
    """Containers in a directory; nothing happens in the background."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.synced = 0
        self.fail: dict[str, BaseException] = {}
        self.aside: list[Path] = []
        self._numbers = itertools.count()

    def base_dir(self, image_id: str, base_id: str) -> Path:
        return self.root / "bases" / base_id

    def note_use(self, base: Path) -> None:
        self._check("note_use")

    def state_dir(self, image_id: str, state_id: str) -> Path:
        return self.root / "states" / state_id

    def state_dirs(self) -> Iterator[Path]:
        states = self.root / "states"
        return iter(sorted(states.iterdir()) if states.exists() else ())

    def new_workspace(self) -> Path:
        self._check("new_workspace")
        workspace = self.root / "work" / str(next(self._numbers))
        workspace.mkdir(parents=True)
        return workspace

    def clone_to_workspace(self, source: Path) -> Path:
        self._check("clone_to_workspace")
        workspace = self.new_workspace()
        shutil.copytree(source, workspace, dirs_exist_ok=True)
        return workspace

    def publish(self, workspace: Path, target: Path) -> bool:
        self._check("publish")
        target.parent.mkdir(parents=True, exist_ok=True)
        workspace.rename(target)
        return True

    def discard(self, path: Path) -> None:
        self._check("discard")
        shutil.rmtree(path, ignore_errors=True)

    def set_aside(self, container: Path) -> Path:
        self._check("set_aside")
        self.aside.append(container)
        return container.rename(self.root / f"aside-{len(self.aside)}")

    def is_whole(self, container: Path) -> bool:
        return container.is_dir()

    def usage(self, path: Path) -> int:
        return sum(file.stat().st_size for file in path.rglob("*"))

    def sync(self) -> None:
        self._check("sync")
        self.synced += 1

    def workspaces(self) -> list[Path]:
        work = self.root / "work"
        return list(work.iterdir()) if work.exists() else []

    def _check(self, call: str) -> None:
        if call in self.fail:
            raise self.fail[call]


class FakeCluster:
    """A cluster whose programs are in one directory."""

    def __init__(self, container: Path, programs: Path) -> None:
        self.container = container
        self.programs = programs
        self.fail: dict[str, BaseException] = {}
        self.spoilt: dict[str, BaseException] = {}  # what fails once a step has left something
        self.settings: dict[str, Any] = {}
        self.log: list[str] = []

    def initdb(self, on_line: Callable[[str], None], recipe: BaseRecipe) -> None:
        self._do("initdb")
        on_line("creating")
        (self.container / "content").write_text("")

    def start(self, *, port: int | None, settings: dict[str, Any]) -> None:
        self._do("start")
        self.settings = settings
        (self.container / "postgres.log").touch()

    def altered_settings(self) -> bytes:
        return b""

    def check_superuser(self, port: int | None, *, alone: bool = False) -> None:
        self._do("check superuser")

    def set_password(self, port: int, password: str) -> None:
        self._do("set password")

    def log_in(self, port: int, password: str) -> None:
        self._do("log in")

    def stop(self, mode: str) -> None:
        self._do(f"stop {mode}")

    def check_clean_end(self) -> None:
        self._do("check")

    def client(
        self,
        program: str,
        arguments: Sequence[str],
        *,
        port: int | None,
        cwd: Path | None,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        environment: Any,
    ) -> "subprocess.Popen[bytes]":
        self._do(program)
        return subprocess.Popen(
            [self.programs / program, *arguments],
            cwd=cwd or "/",
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            env={"PATH": os.environ["PATH"], "DATA": str(self.container / "content")},
            start_new_session=True,
        )

    def _do(self, what: str) -> None:
        self.log.append(what)
        if what in self.fail:
            raise self.fail[what]
        if what in self.spoilt and (self.container / "content").read_text():
            raise self.spoilt[what]


def write_psql(directory: Path, script: str = PSQL) -> Path:
    """Write a psql that runs its input as shell; return its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "psql"
    program.write_text(script)
    program.chmod(0o755)
    return directory


class FakeInstances:
    """Makes instances that are rows in memory, by what they are made for."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.made: dict[str, Instance] = {}
        self.fail: BaseException | None = None

    def create(self, state_id: str, *, made_for: str, on_log: Callable[[str], None]) -> Instance:
        if self.fail is not None:
            raise self.fail
        there = self.made.setdefault(
            made_for,
            Instance(
                instance_id=new_id(),
                image_id=IMAGE,
                state_id=state_id,
                created_at=utc_now(),
                port=20000,
                password="secret",
            ),
        )
        if there.state_id != state_id:
            raise Conflict("there is an instance of another state", there.instance_id)
        on_log(f"instance created {there.instance_id}")
        return there

    def remove_made_for(self, made_for: str) -> bool:
        return self.made.pop(made_for, None) is not None


class World:
    """The parts of an engine that preparations need, over one directory."""

    def __init__(self, root: Path, disk_budget: DiskBudget | None = None) -> None:
        self.root = root
        self.config = Config(root / "config.json")
        self.store = SqliteStore(root / "state.db")
        self.files = FakeFiles(root / "store")
        self.programs = write_psql(root / "bin")
        self.clusters: list[FakeCluster] = []
        self.cluster_failures: dict[str, BaseException] = {}
        self.spoilt: dict[str, BaseException] = {}
        self.killed: list[Path] = []
        self.resolve: Callable[..., Distribution] = self._resolve
        self.instances = FakeInstances(self)
        self.disk_budget = disk_budget or Unlimited()
        self.begin()

    def begin(self) -> None:
        """Build the services anew, as the next engine does."""
        self.states = States(self.store.states, self.files, utc_now)
        self.durability = Durability(self.states)
        self.leases = Leases()
        self.metrics = Metrics()
        self.retries = RetryQueue()
        self.events = EventLog(self.store.jobs, utc_now)
        values = InputValues()
        self.observed = ObservedInputs(self.store.states, values.value)
        self.service = PrepareService(
            Services(
                observation=Observation(self.observed, values, self.root / "store"),
                jobs=self.store.jobs,
                events=self.events,
                images=self,
                origins=Origins(self.states, Registry(self.store)),
                planner=Planner(changelogs=self.root / "changelogs", config=self.config),
                builder=Builder(self.files, self.states, self, BuildLocks(2), retries=self.retries),
                states=self.states,
                durability=self.durability,
                leases=self.leases,
                creation=self.instances,
                config=self.config,
                clock=utc_now,
                metrics=self.metrics,
                disk_budget=self.disk_budget,
                retries=self.retries,
            )
        )

    def images_with(self, extension: str) -> list[tuple[str, Distribution]]:
        return []

    def fetch_extension(self, extension: str, distribution: Distribution, work: JobContext) -> bool:
        return False

    def close(self) -> None:
        self.retries.stop()
        self.service.shutdown(PATIENCE)
        self.durability.stop()
        self.store.close()

    # What the builder wants of servers, and jobs of images.

    def server(self, image_id: str, container: Path) -> FakeCluster:
        cluster = FakeCluster(container, self.programs)
        cluster.fail, cluster.spoilt = self.cluster_failures, self.spoilt
        self.clusters.append(cluster)
        return cluster

    def kill(self, container: Path) -> None:
        self.killed.append(container)

    def _resolve(self, image: str, work: JobContext | None = None) -> Distribution:
        if image.startswith("postgres:9"):
            raise ImageUnavailable("no PostgreSQL for the image", image)
        return Distribution(image_id=IMAGE, version="17.1", major=17, bin_dir=self.programs)

    # What tests do.

    def request(self, *args: str, **fields: Any) -> PrepareRequest:
        fields.setdefault("image_id", "postgres:17")
        fields.setdefault("prepare_kind", "psql")
        return single_stage(psql_args=args, **fields)

    def submit(self, *args: str, **fields: Any) -> str:
        return self.service.submit(self.request(*args, **fields)).job_id

    def job(self, job_id: str) -> Job:
        job = self.store.jobs.get(job_id)
        assert job is not None
        return job

    def wait(self, job_id: str) -> Job:
        eventually(lambda: self.events.read(job_id, 0).state == "ended", "the end of the job")
        return self.job(job_id)

    def prepare(self, *args: str, **fields: Any) -> Job:
        return self.wait(self.submit(*args, **fields))

    def lines(self, job_id: str) -> list[Any]:
        """Return the job's events as far as they go."""
        import json

        lines: list[bytes] = []
        while more := self.events.read(job_id, len(lines)).lines:
            lines += more
        return [json.loads(line) for line in lines]

    def logs(self, job_id: str) -> list[str]:
        return [event["message"] for event in self.lines(job_id) if event["type"] == "log"]

    def running(self, job_id: str, word: str = "psql: started") -> None:
        """Wait until psql has printed ``word``."""
        eventually(lambda: word in self.logs(job_id), word)

    def content(self, state_id: str) -> str:
        return (self.files.state_dir(IMAGE, state_id) / "content").read_text()


class Gate:
    """A place where threads wait until they are let through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, *_: Any, **__: Any) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE)


@contextlib.contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[threading.Thread]:
    """Run something in a thread that ends with the block."""
    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


FULL = ClusterFailed(
    "PostgreSQL did not start: its log has the cause",
    "2026-12-01 00:00:00.000 UTC [7] 53100 FATAL:  could not write: No space left on device",
)
