"""A fresh PostgreSQL for every test, cloned from one prepared state."""

import json
import os
from pathlib import Path

import httpx
import psycopg
import pytest

SCRIPTS = Path(__file__).resolve().parent.parent / "bikeshare"
STATE_HOME = Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state"))


@pytest.fixture(scope="session")
def engine():
    info = json.loads((STATE_HOME / "sqlrs" / "engine.json").read_text())
    headers = {"Authorization": f"Bearer {info['authToken']}"}
    with httpx.Client(base_url=f"http://{info['endpoint']}", headers=headers, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def state(engine):
    scripts = [SCRIPTS / name for name in ("schema.sql", "reference.sql", "trips.sql")]
    arguments = [word for script in scripts for word in ("-f", str(script))]
    body = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": arguments}
    job = engine.post("/v1/prepare-jobs", json=body).raise_for_status().json()
    engine.get(job["events_url"])  # the stream ends when the job ends
    result = engine.get(job["status_url"]).json()["result"]
    engine.delete(f"/v1/instances/{result['instance_id']}")
    return result["state_id"]


@pytest.fixture
def database(engine, state):
    made = engine.post("/v1/instances", json={"state_id": state}).raise_for_status().json()
    with psycopg.connect(made["dsn"]) as connection:
        yield connection
    engine.delete(f"/v1/instances/{made['instance_id']}")
