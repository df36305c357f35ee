"""Simple services for tests of the HTTP layer: a real store, no PostgreSQL.

A prepare ends at once: one step, one state, one instance. ``sleep`` as its argument keeps
it running until it is cancelled.
"""

import asyncio
import contextlib
import functools
import hashlib
import itertools
import socket
import threading
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import orjson
import uvicorn

from sqlrs_engine import ids
from sqlrs_engine.clock import shift, utc_now
from sqlrs_engine.config import Config
from sqlrs_engine.deletion import DeleteResult, Deletion, Node
from sqlrs_engine.dumps import Dumps
from sqlrs_engine.errors import Cancelled, Conflict, InvalidArgument, NotFound
from sqlrs_engine.httpapi import spec
from sqlrs_engine.httpapi.app import create_app
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.httpapi.uvicorn_protocol import GuardedProtocol
from sqlrs_engine.instances.disk_budget import Unlimited
from sqlrs_engine.instances.keyed_locks import KeyedLocks
from sqlrs_engine.prepare.jobs.events import Batch
from sqlrs_engine.registry import Registry
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.store.records import Instance, Job, State, Task
from sqlrs_engine.store.sqlite import SqliteStore

TOKEN = "0123456789abcdef" * 4
IMAGE = "postgres@sha256:" + "ab" * 32
IDENT = "ef" * 16


class FakeInstances:
    """Instances without clusters; ``connected`` has the number of clients of each."""

    def __init__(self, store: SqliteStore, registry: Registry) -> None:
        self._store = store
        self._registry = registry
        self._ports = itertools.count(20000)
        self.connected = defaultdict(int)
        self.asked = []
        # Each part of ``Instances`` is this object.
        self.creation = self.expiry = self.reset = self.promotion = self
        self.usage = self.removal = self
        self.services = SimpleNamespace(locks=KeyedLocks())

    def create(
        self,
        state_id,
        *,
        name=None,
        ttl=None,
        protected=False,
        made_for=None,
        request_digest=None,
    ):
        if made_for is not None:
            self.asked.append((made_for, request_digest))
        if self._store.states.get(state_id) is None:
            raise NotFound("state not found", state_id)
        now = utc_now()
        instance = Instance(
            instance_id=ids.new_id(),
            image_id=IMAGE,
            state_id=state_id,
            created_at=now,
            port=next(self._ports),
            password="secret",
            ttl=ttl,
            protected=protected,
            expires_at=shift(now, ttl) if ttl else None,
        )
        self._store.instances.add(instance)
        if name is not None:
            self._registry.claim(name, instance)
        return self._get(instance.instance_id)

    def update(self, instance_id, **changes):
        self._get(instance_id)
        return self._store.instances.update(instance_id, **changes)

    def apply(self, instance_id, force=False):
        instance = self._get(instance_id)
        if self.connected[instance_id] and not force:
            raise Conflict("the instance is in use", f"{self.connected[instance_id]} connections")
        return instance

    def promote(self, instance_id):
        instance = self._get(instance_id)
        state = State(
            state_id=hashlib.sha256(ids.new_id().encode()).hexdigest(),
            parent_state_id=instance.state_id,
            image_id=instance.image_id,
            prepare_kind="snapshot",
            prepare_args_normalized=f"instance {instance_id}",
            created_at=utc_now(),
        )
        self._store.states.add(state)
        return self._store.states.get(state.state_id)

    def connections(self, instance_id):
        return self.connected[instance_id]

    def remove(self, instance_id):
        return self._store.instances.remove(instance_id)

    def _get(self, instance_id):
        instance = self._store.instances.get(instance_id)
        if instance is None:
            raise NotFound("instance not found", instance_id)
        return instance


class FakeFiles:
    """Where states are: nowhere."""

    def state_dir(self, image_id, state_id):
        return Path("/nonexistent", state_id)

    def discard(self, path):
        return None


class FakeEvents:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines = defaultdict(list)
        self._over = set()
        self.callbacks = defaultdict(list)

    def read(self, job_id, start):
        state = "ended" if job_id in self._over else "open"
        with self._lock:
            return Batch(self._lines[job_id][start:], state)

    def subscribe(self, job_id, callback):
        self.callbacks[job_id].append(callback)
        return lambda: self.callbacks[job_id].remove(callback)

    def append(self, job_id, **event):
        with self._lock:
            self._lines[job_id].append(orjson.dumps({"ts": utc_now(), **event}))
        self._notify(job_id)

    def finish(self, job_id):
        self._over.add(job_id)
        self._notify(job_id)

    def _notify(self, job_id):
        for callback in list(self.callbacks[job_id]):
            callback()


class FakePrepare:
    def __init__(self, store: SqliteStore, instances: FakeInstances) -> None:
        self._store = store
        self._instances = instances
        self.events = FakeEvents()
        self.was_read = []

    def submit(self, request, *, idempotency_key=None):
        fields = request.to_json()
        there = self._store.jobs.with_key(idempotency_key or "")
        if there is not None:
            return there
        args = fields.get("psql_args") or []
        if "-h" in args:
            raise InvalidArgument("connection flags are not allowed", "-h")
        job = Job(
            job_id=ids.new_id(),
            status="queued",
            prepare_kind=fields["prepare_kind"],
            image_id=fields["image_id"],
            request=fields,
            created_at=utc_now(),
            plan_only=bool(fields.get("plan_only")),
            prepare_args_normalized=" ".join(args),
            idempotency_key=idempotency_key,
        )
        self._store.jobs.add(job)
        self.events.append(job.job_id, type="status", status="queued")
        if "sleep" not in args:
            self._run(job)
        return job

    def cancel(self, job_id):
        job = self._get(job_id)
        if job.status in ("succeeded", "failed"):
            return job, False
        error = Cancelled("the job was cancelled").as_dict()
        job = self._store.jobs.finish(job_id, "failed", utc_now(), error=error)
        self.events.append(job_id, type="status", status="failed")
        self.events.append(job_id, type="error", error=error)
        self.events.finish(job_id)
        return job, True

    def delete(self, job_id, *, force, dry_run):
        active = self._get(job_id).status in ("queued", "running")
        blocked = "active_tasks" if active and not force else None
        if not blocked and not dry_run:
            self._store.jobs.remove(job_id)
            self.events.finish(job_id)
        return DeleteResult.of(Node(kind="job", id=job_id, blocked=blocked), dry_run=dry_run)

    def read(self, job):
        self.was_read.append(job.job_id)

    def _get(self, job_id):
        job = self._store.jobs.get(job_id)
        if job is None:
            raise NotFound("job not found", job_id)
        return job

    def _run(self, job):
        state_id = hashlib.sha256(repr(job.prepare_args_normalized).encode()).hexdigest()
        plan = Task(job_id=job.job_id, task_id="plan", position=0, type="plan", planner_kind="psql")
        step = Task(
            job_id=job.job_id,
            task_id="execute-0",
            position=1,
            type="state_execute",
            input_kind="image",
            input_id=IMAGE,
            output_state_id=state_id,
            cached=False,
            args_summary=job.prepare_args_normalized,
        )
        self._store.jobs.put_tasks(job.job_id, [plan, step])
        answer = None
        if not job.plan_only:
            self._store.states.add(
                State(
                    state_id=state_id,
                    parent_state_id=None,
                    image_id=IMAGE,
                    prepare_kind=job.prepare_kind,
                    prepare_args_normalized=job.prepare_args_normalized,
                    created_at=utc_now(),
                )
            )
            instance = self._instances.create(state_id)
            answer = {
                "dsn": instance.dsn,
                "instance_id": instance.instance_id,
                "state_id": state_id,
                "image_id": IMAGE,
                "prepare_kind": job.prepare_kind,
                "prepare_args_normalized": job.prepare_args_normalized,
            }
        self._store.jobs.finish(job.job_id, "succeeded", utc_now(), result=answer)
        self.events.append(job.job_id, type="status", status="succeeded")
        if answer:
            self.events.append(job.job_id, type="result", result=answer)
        self.events.finish(job.job_id)


def services(directory: Path, **changes) -> Services:
    """Return services over a new store in ``directory``."""
    store = SqliteStore(directory / "state.db")
    registry = Registry(store)
    instances = FakeInstances(store, registry)
    made = Services(
        store=store,
        registry=registry,
        instances=instances,
        deletion=Deletion(store, instances, Leases(), FakeFiles()),
        prepare=FakePrepare(store, instances),
        config=Config(directory / "config.json"),
        # Tests that call them bring their own.
        runs=None,
        images=None,
        cache=None,
        sources=None,
        dumps=Dumps(directory, store.jobs.unfinished, lambda: Unlimited()),
    )
    return replace(made, **changes)


@functools.cache
def _document() -> bytes:
    """Return the API document as JSON, which reads 30 times as fast as YAML."""
    return orjson.dumps(spec.document())


def app(made: Services, **options):
    """Return the application, its answers checked against the document."""
    options = {"response_validation": True, "document": orjson.loads(_document()), **options}
    return create_app(made, token=TOKEN, version="test", instance_id=IDENT, **options)


def call(app, method, path, *, headers=None, token=TOKEN, base="http://127.0.0.1", **options):
    """Call an application in process; return the response."""
    headers = {"Authorization": f"Bearer {token}", **(headers or {})} if token else headers

    async def request():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, headers=headers, **options)

    return asyncio.run(request())


class Api:
    """Calls an application in process, as a client with the token would."""

    def __init__(self, directory: Path, **options) -> None:
        self.services = options.pop("services", None) or services(directory)
        self.store = self.services.store
        self.app = app(self.services, **options)

    def __call__(self, method, path, **options):
        return call(self.app, method, path, **options)

    def get(self, path, **kw):
        return self("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self("POST", path, json=body, **kw) if body is not None else self("POST", path, **kw)

    def prepare(self, *args, **fields):
        """Submit a prepare and return its job's id."""
        body = {
            "prepare_kind": "psql",
            "image_id": "postgres:17",
            "psql_args": list(args),
            **fields,
        }
        return self.post("/v1/prepare-jobs", body).json()["job_id"]

    def instance(self):
        """Return a new instance's entry, DSN included."""
        job = self.get(f"/v1/prepare-jobs/{self.prepare('-c', 'select 1')}").json()
        return self.get(f"/v1/instances/{job['result']['instance_id']}").json()


@contextlib.contextmanager
def serving(application, keep_alive=5):
    """Serve an application by uvicorn in a thread; yields (host, port)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            application,
            http=GuardedProtocol,
            ws="none",
            log_config=None,
            access_log=False,
            timeout_keep_alive=keep_alive,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join()
