"""Runs without PostgreSQL: an instance that is always there, psql played by shell scripts."""

import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from sqlrs_engine.errors import NotFound
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.runs import Runs
from sqlrs_engine.store.records import Instance
from support.programs import shell
from support.run_reader import RunReader

IDENT = "cd" * 16

INSTANCE = Instance(
    instance_id=IDENT,
    image_id="postgres@sha256:" + "ab" * 32,
    state_id="ef" * 32,
    created_at="2026-01-01T00:00:00.000000Z",
    port=20000,
    password="secret",
)


class FakeConnection:
    def __init__(self, client):
        self.client = client

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.connected -= 1

    def execute(self, _query, parameters):
        self.client.asked.append(parameters)
        self.row = (self.client.left.pop(0) if self.client.left else 0, 0)
        return self

    def fetchone(self):
        return self.row


class RunsWorld:
    """A registry, instances and clients in one, and a record of what was asked of them."""

    def __init__(self, script="exit 0", major=18):
        self.script = script
        self.calls = []
        self.started = []
        self.running = True
        self.fail_start = self.fail_connect = self.fail_renew = None
        self.left, self.asked, self.connected = [], [], 0
        self.distribution = Distribution(
            image_id=INSTANCE.image_id,
            version=f"{major}.1",
            major=major,
            bin_dir=Path("/nonexistent"),
            origin="system",
        )
        self.directories = []
        self.runs = Runs(self, self, lambda instance: self, renew=self.renew, scratch=self.scratch)

    def instance(self, ref):
        if ref not in (IDENT, "demo"):
            raise NotFound("instance not found", ref)
        return INSTANCE, ref == "demo"

    def touch(self, name):
        self.calls.append(("touch", name))

    def renew(self, instance_id):
        assert instance_id == IDENT
        self.calls.append(("renew", self.runs.active()))
        if self.fail_renew:
            raise self.fail_renew

    def ensure_running(self, instance_id, on_log):
        self.calls.append(("ensure_running", instance_id))
        if not self.running:
            on_log("starting")
            on_log("started")
        return INSTANCE

    @contextmanager
    def scratch(self):
        with tempfile.TemporaryDirectory() as directory:
            self.directories.append(Path(directory))
            yield Path(directory)

    def client(self, program, arguments, *, port, cwd, stdin, stdout, stderr, environment):
        if self.fail_start:
            raise self.fail_start
        assert (port, stdout, stderr) == (20000, subprocess.PIPE, subprocess.PIPE)
        self.started.append((program, list(arguments), dict(environment)))
        return shell(self.script, *arguments, stdin=stdin or subprocess.DEVNULL, cwd=cwd)

    def connect_to_any(self, port):
        if self.fail_connect:
            raise self.fail_connect
        self.connected += 1
        return FakeConnection(self)

    def open(self, **fields):
        return self.runs.open({"instance_ref": IDENT, "kind": "psql", **fields})

    def read(self, **fields):
        return RunReader(self.open(**fields)).rest()
