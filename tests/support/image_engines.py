"""What tests of images ask of an engine and look at in its image store."""

import base64
import json
from pathlib import Path
from typing import Any

import psycopg

from support.fix_engine import EngineProcess
from support.registry import PASSWORD, USER, Registry


def value(dsn: str, sql: str) -> Any:
    """Return the first value that a query gives."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]


def failure(engine: EngineProcess, image: str) -> dict[str, Any]:
    """Return the error of a prepare that must fail, in the answer or in the job."""
    body = {"prepare_kind": "psql", "image_id": image, "psql_args": ["-c", "select 1"]}
    answer = engine.call("POST", "/v1/prepare-jobs", json=body)
    if answer.status_code != 201:
        refused: dict[str, Any] = answer.json()
        return refused
    engine.events(answer.json()["job_id"])
    job = engine.call("GET", answer.json()["status_url"]).json()
    assert job["status"] == "failed", job
    error: dict[str, Any] = job["error"]
    return error


def images(engine: EngineProcess) -> list[dict[str, Any]]:
    """Return the images of registries that the engine has."""
    listed = engine.call("GET", "/v1/images").json()
    return [each for each in listed if each["origin"] == "image"]


def configure(engine: EngineProcess, path: str, setting: object) -> None:
    """Change a setting."""
    answer = engine.call("PATCH", "/v1/config", json={"path": path, "value": setting})
    assert answer.status_code == 200, answer.text


def files_in(store: Path) -> list[str]:
    """Return the files of images, layers and downloads, also unfinished ones."""
    kept = [path for path in store.rglob("*") if path.is_file()]
    return [str(path.relative_to(store)) for path in kept if "locks" not in path.parts]


def kept_bytes(store: Path) -> int:
    """Return the size of the largest download that is not complete."""
    return max((file.stat().st_size for file in store.glob("downloads/*")), default=0)


def disk_usage(directory: Path) -> int:
    """Return the bytes on disk; files with several names count once."""
    found = {(s.st_dev, s.st_ino): s.st_blocks for s in (p.lstat() for p in directory.rglob("*"))}
    return 512 * sum(found.values())


def docker_login(home: Path, registry: Registry, password: str = PASSWORD) -> Path:
    """Write what ``docker login`` writes."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    file = home / ".docker" / "config.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    return file
