"""Commands on real PostgreSQL: small programs that migrate the database that they are told of."""

import sys
from pathlib import Path
from textwrap import dedent

import pytest
from support.fix_store import Store, query

from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.prepare.request import PrepareRequest

pytestmark = pytest.mark.postgres

IMAGE = "postgres:18"

MIGRATE = """
    import os, pathlib, psycopg
    print("app", os.environ.get("APP_ENV"), flush=True)
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        for script in sorted(pathlib.Path("migrations").glob("*.sql")):
            print("apply", script, flush=True)
            connection.execute(script.read_text())
"""


class Commands(Store):
    """An engine, and an application with migrations in ``app``."""

    def __init__(self, root: Path, app: Path) -> None:
        super().__init__(root, IMAGE)
        self.app = app
        (app / "migrations").mkdir(parents=True)
        self.write("migrations/1.sql", "CREATE TABLE t (v text); INSERT INTO t VALUES ('one')")
        self.write("migrate.py", MIGRATE)

    def write(self, path, text):
        place = self.app / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(dedent(text))
        return place

    def script(self, path, text):
        self.write(path, text).chmod(0o755)

    def submit_command(self, *argv, **fields):
        return self.submit_stages(self.stage(*argv, **fields))

    def submit_stages(self, *stages, **fields):
        body = {"prepare_kind": "chain", "image_id": IMAGE, "stages": stages, **fields}
        return self.engine.prepare.submit(PrepareRequest.from_json(body)).job_id

    def stage(self, *argv, **fields):
        return {
            "kind": "command",
            "argv": argv or (sys.executable, "migrate.py"),
            "inputs": ["migrations/**", "migrate.py"],
            "work_dir": str(self.app),
            **fields,
        }

    def command(self, *argv, **fields):
        return self.wait(self.submit_command(*argv, **fields))

    def made(self, *argv, **fields):
        job = self.command(*argv, **fields)
        assert job.status == "succeeded", job.error
        return job.result

    def error(self, *argv, **fields):
        job = self.command(*argv, **fields)
        assert job.status == "failed", job.result
        return job.error

    def was_cached(self, *argv, **fields):
        """Run a command that must succeed, and return whether its state was there before."""
        job = self.command(*argv, **fields)
        assert job.status == "succeeded", job.error
        return self.cached(job.job_id) == [True]

    def changes(self, *argv, **fields):
        """Return what explains that the state of a command is not there."""
        body = {
            "prepare_kind": "chain",
            "image_id": IMAGE,
            "stages": [self.stage(*argv, **fields)],
        }
        decision = self.engine.services.cache.explain(PrepareRequest.from_json(body))
        return [(change["kind"], change["name"]) for change in decision["changes"]]

    @property
    def bin_dir(self):
        return Distributions(self.root / "postgres").resolve(IMAGE).bin_dir


@pytest.fixture
def commands(tmp_path):
    commands = Commands(tmp_path / "store", tmp_path / "app")
    yield commands
    commands.close()


def test_a_program_makes_a_state_that_is_used_again(commands):
    job = commands.command()
    assert job.status == "succeeded", job.error
    assert query(job.result, "SELECT v FROM t") == "one"
    assert commands.cached(job.job_id) == [False]
    python = Path(sys.executable).name
    logs = commands.logs(job.job_id)
    assert f"{python}: app None" in logs
    assert f"{python}: apply migrations/1.sql" in logs
    assert commands.was_cached()
