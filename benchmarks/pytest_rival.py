"""Run by ``rivals`` in a pytest of its own: how long pytest-postgresql's fixture takes.

The template is loaded once a session by the plugin, each test gets a copy of it. What it
is told comes in ``RIVAL``, a JSON object.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pytest_postgresql import factories

TOLD: dict[str, Any] = json.loads(os.environ["RIVAL"])
_samples: list[float] = []


def _load(*, host: str, port: int, user: str, dbname: str, **_: object) -> None:
    where = ["-h", host, "-p", str(port), "-U", user, "-d", dbname]
    subprocess.run([*TOLD["psql"], *where], check=True, stdout=subprocess.DEVNULL, cwd=TOLD["cwd"])


server = factories.postgresql_noproc(
    host=TOLD["host"], port=TOLD["port"], user=TOLD["user"], dbname="one_test", load=[_load]
)
postgresql = factories.postgresql("server")


@pytest.fixture(scope="session", autouse=True)
def _keep(server: object) -> Iterator[None]:
    yield
    Path(TOLD["samples"]).write_text(json.dumps(_samples))


@pytest.fixture
def began() -> float:
    """The time before the database is asked for: fixtures are made in the order of arguments."""
    return time.perf_counter()


@pytest.mark.parametrize("run", range(TOLD["runs"]))
def test_one(began: float, postgresql: psycopg.Connection[Any], run: int) -> None:
    """Use the database, as a test would."""
    postgresql.execute("SELECT 1").fetchone()
    _samples.append((time.perf_counter() - began) * 1000)
